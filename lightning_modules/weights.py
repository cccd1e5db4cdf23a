"""Weights from files, ours or others', into networks that may differ from them in head and input."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from timm.models import adapt_input_conv
from torch import Tensor, nn

from lightning_modules.checkpoints import PREFIX, load_checkpoint
from lightning_modules.networks import Network
from lightning_modules.networks.deformable_resnet import with_deformable_keys
from lightning_modules.networks.layers import find_head, layer_groups
from lightning_modules.networks.published import current_keys
from lightning_modules.settings import require

COMPILED = "_orig_mod."
"""What ``torch.compile`` puts into the names in a module."""
SHOWN = 4
"""Keys that an error names."""


@dataclass(frozen=True)
class WeightFile:
    """What a file of weights holds.

    Attributes:
        path: the file.
        weights: tensors by the names that they have in the body of a network.
        spec: how the network was built, where the file is one of our checkpoints.
    """

    path: Path
    weights: dict[str, Tensor]
    spec: dict[str, Any] | None = None


def read_weights(path: str | Path) -> WeightFile:
    """Read one of our checkpoints, or a state dictionary in a ``.safetensors``, ``.pth`` or ``.pt`` file.

    The dictionary may be nested under ``state_dict`` or ``model``; prefixes that all keys share through
    ``DistributedDataParallel`` (``module.``) or through this project (``network.``, ``body.``) are taken off, and
    wherever it stands what ``torch.compile`` puts in (``_orig_mod.``).

    Raises:
        ValueError: the file is missing, damaged, or holds anything else; nothing of it is executed.
    """
    path = Path(path).expanduser()
    content = read_file(path)
    spec = content.get("network")
    state = next((content[name] for name in ("state_dict", "model") if isinstance(content.get(name), dict)), content)
    state = {str(key).replace(COMPILED, ""): value for key, value in state.items()}
    if isinstance(spec, dict):
        state = {key: value for key, value in state.items() if key.startswith(PREFIX)}
    for prefix in ("module.", PREFIX, "body."):
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    others = [key for key, value in state.items() if not isinstance(value, Tensor)]
    if others or not state:
        raise ValueError(
            f"checkpoint {path}: expected one of our checkpoints or a state dictionary of tensors, also under "
            f"'state_dict' or 'model'; it holds {shown(others) or 'nothing'}"
        )
    return WeightFile(path, state, spec if isinstance(spec, dict) else None)


def read_file(path: str | Path) -> dict[str, Any]:
    """Return the dictionary in a file, on the CPU.

    Raises:
        ValueError: the file is missing, damaged or of another kind.
    """
    path = Path(path).expanduser()
    if path.is_file() and path.suffix == ".safetensors":
        return read_with(load_file, path)
    if path.is_file() and starts_as_pickle(path):
        return read_with(load_pickle, path)
    return load_checkpoint(path)


def starts_as_pickle(path: Path) -> bool:
    """Return whether a file has the format of PyTorch before 1.6, in which older published weights come."""
    with path.open("rb") as file:
        return file.read(1) == b"\x80"


def load_pickle(path: Path) -> Any:
    """Read tensors and plain values; nothing is executed."""
    return torch.load(path, map_location="cpu", weights_only=True)


def read_with(load: Callable[[Path], Any], path: Path) -> dict[str, Any]:
    """Call ``load``; whatever it raises becomes a ``ValueError`` that names the file."""
    try:
        content = load(path)
    except Exception as error:  # damage shows as many kinds of error
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"checkpoint {path}: not a complete file of tensors ({reason}); it is truncated or of another kind"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"checkpoint {path}: expected a dictionary, it holds a {type(content).__name__}")
    return content


def load_weights(
    network: Network, file: WeightFile, *, ignore_keys: Iterable[str] = (), exact: bool = False
) -> list[str]:
    """Load a file's weights into a network and return what had to differ, a sentence each.

    A head of another number of classes, and auxiliary classifiers with it, keep their initial weights; a first
    convolution of another number of channels is adapted: weights are summed for one channel, repeated for several.

    Args:
        network: of the architecture that the weights are of.
        file: the weights.
        ignore_keys: beginnings of keys that are neither read from the file nor missed in it.
        exact: allow no other head and no other number of channels, and ``ignore_keys`` for surplus keys alone.

    Raises:
        ValueError: any other key is missing, unexpected or of another shape, or ``ignore_keys`` has an empty beginning.
    """
    own = network.body.state_dict()
    ignored = tuple(ignore_keys)
    initial = keys_left_initial(own, ignored, file.path, exact=exact)
    given = with_deformable_keys(network.body, current_keys(file.weights))
    weights = {key: value for key, value in given.items() if not key.startswith(ignored)}
    expected = {key for key in own if not key.startswith(ignored) and not key.endswith("num_batches_tracked")}
    notes = [f"{len(initial)} tensors ({shown(initial)}) keep their initial weights: ignore_keys"] if initial else []
    if not exact:
        replaced = keys_of_another_head(network, weights)
        if replaced:
            notes.append(describe_heads(network, weights))
        weights = {key: value for key, value in weights.items() if key not in replaced}
        expected -= replaced
        notes += adapt_first_convolution(network, weights)
    require_keys(expected - weights.keys(), weights.keys() - own.keys(), network, file.path)
    require_shapes(own, weights, file.path)
    network.body.load_state_dict(weights, strict=False)
    return notes


def keys_left_initial(own: Iterable[str], ignored: tuple[str, ...], path: Path, *, exact: bool) -> list[str]:
    """Return the network's own keys that are ignored in the file.

    Raises:
        ValueError: the empty beginning would ignore all, or ``exact`` allows none.
    """
    require("" not in ignored, "ignore_keys", list(ignored), "beginnings of keys; an empty one would ignore them all")
    initial = [key for key in own if key.startswith(ignored)]
    require(
        not (exact and initial),
        "ignore_keys",
        list(ignored),
        f"beginnings of surplus keys alone: {path} is taken as it is, and {shown(initial)} would keep initial weights; "
        "leave them out",
    )
    return initial


def rows_per_class(network: Network) -> int:
    """Return how many rows of the head's weights a class has: one, or one for each pixel of a block (``Folded``)."""
    rows: int = getattr(network.body, "scores_per_class", 1)
    return rows


def head_key(network: Network) -> str:
    """Return the name in the body of the head's weights, whose rows are the classes, or their pixels in a block."""
    name = find_head(network.body, network.spec.num_classes * rows_per_class(network))
    return f"{name}.weight" if name else "weight"


def keys_of_another_head(network: Network, weights: dict[str, Tensor]) -> set[str]:
    """Return the keys of classifiers in ``weights`` that have another number of classes and differ in nothing else."""
    num_rows = network.spec.num_classes * rows_per_class(network)
    head = weights.get(head_key(network))
    if head is None or head.ndim == 0 or len(head) == num_rows:
        return set()
    own = network.body.state_dict()
    names = {name.removeprefix("body.") for name in layer_groups(network)[-1]} & weights.keys()
    return {
        name
        for name in names
        if weights[name].shape == (len(head), *own[name].shape[1:]) and len(own[name]) == num_rows
    }


def describe_heads(network: Network, weights: dict[str, Tensor]) -> str:
    """Return the sentence on a replaced head."""
    num_classes = network.spec.num_classes
    given = len(weights[head_key(network)]) // rows_per_class(network)
    return f"the head of {given} classes in the checkpoint is replaced by a new one of {num_classes}"


def adapt_first_convolution(network: Network, weights: dict[str, Tensor]) -> list[str]:
    """Adapt the first convolution in ``weights`` to the network's number of channels; return what was done."""
    convolutions = ((name, module) for name, module in network.body.named_modules() if isinstance(module, nn.Conv2d))
    name, convolution = next(convolutions, ("", None))
    given = weights.get(f"{name}.weight")
    if convolution is None or given is None or given.ndim != 4:
        return []
    wanted, num_channels = convolution.weight.shape, given.shape[1]
    if num_channels == wanted[1] or given.shape != (wanted[0], num_channels, *wanted[2:]):
        return []
    weights[f"{name}.weight"] = adapt_input_conv(wanted[1], given, base_chans=num_channels)
    return [f"the first convolution of {num_channels} channels in the checkpoint is adapted to {wanted[1]}"]


def require_keys(missing: set[str], unexpected: set[str], network: Network, path: Path) -> None:
    """Raise a ``ValueError`` that shows the first keys, if there are any."""
    found = [f"{what} {shown(keys)}" for what, keys in (("it lacks", missing), ("it has besides", unexpected)) if keys]
    if found:
        raise ValueError(
            f"checkpoint {path}: expected the weights of {network.spec.name!r}, but {'; '.join(found)}; choose the "
            "network and options that the file is of, or name in ignore_keys how keys to be left out begin"
        )


def require_shapes(own: dict[str, Tensor], weights: dict[str, Tensor], path: Path) -> None:
    """Raise a ``ValueError`` that names the first tensor of another shape."""
    for key, value in weights.items():
        if value.shape != own[key].shape:
            raise ValueError(
                f"checkpoint {path}: {key} has shape {tuple(value.shape)}, expected {tuple(own[key].shape)}; choose "
                "the stem, width and input_size that the file is of (published weights: stem=standard)"
            )


def shown(keys: Iterable[str]) -> str:
    """Return the first of the sorted keys, and how many more there are."""
    ordered = sorted(keys)
    more = f" and {len(ordered) - SHOWN} more" if len(ordered) > SHOWN else ""
    return ", ".join(ordered[:SHOWN]) + more
