"""A network as a file of each format, and each file read back."""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from experiments.exports.check import enlarged
from experiments.exports.timm_folder import loads_in_timm, timm_config
from experiments.files import read_json, write_json
from lightning_modules.checkpoints import rebuild
from lightning_modules.networks import Network
from lightning_modules.networks.names import SEGMENTATION, resolve
from lightning_modules.settings import require
from lightning_modules.weights import load_weights, read_weights

FILES = {
    "torch": ("model.pt2",),
    "onnx": ("model.onnx",),
    "safetensors": ("model.safetensors", "config.json"),
}
"""What is written in each format, the network first."""
TRACED = ("torch", "onnx")
"""Formats of the network as it was traced, whose sides may be fixed."""
STEPS = (1, 2, 4, 8, 16, 32)
"""Pixels by which sides are tried to be larger: networks halve their maps up to five times."""
PACKAGES = ("onnx", "onnxscript", "onnxruntime")


class Computed(nn.Module):
    """Gives the logits that something else computes from images.

    Args:
        compute: takes ``(N, C, H, W)`` in ``[0, 1]``.
    """

    def __init__(self, compute: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._compute = (compute,)  # a tuple hides a module, since torch.export's refuse eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``(N, K)`` or ``(N, K, H, W)`` of ``images (N, C, H, W)``."""
        return self._compute[0](images)


@dataclass(frozen=True)
class Exporter:
    """Writes one network in one format after the other.

    Attributes:
        network: in evaluation mode.
        images: ``(2, C, H, W)`` or more, as the network is to take them.
        class_names: ``K`` names in the order of the class indices, where they are known.
    """

    network: Network
    images: Tensor
    class_names: Sequence[str] | None = None

    @cached_property
    def program(self) -> ExportedProgram:
        """The network without auxiliary classifiers as ``torch.export`` traces it, for any number of images.

        Raises:
            ValueError: it cannot be traced.
        """
        return trace(self.network.without_auxiliary(), self.images[:2])

    @cached_property
    def side_step(self) -> int | None:
        """What height and width may be larger by than those of ``images``, also several times; ``None``: nothing.

        A trace notes by what its sides are divisible, where the network pads others.
        """
        program = self.program.module()
        for step in STEPS:
            try:
                program(enlarged(self.images[:1], step))
            except (AssertionError, RuntimeError):
                continue
            return step
        return None

    def write(self, form: str, directory: Path) -> nn.Module:
        """Write the network in the format ``form`` and return what the files compute.

        Raises:
            ValueError: the network cannot be written in that format.
        """
        write = {"torch": self._write_torch, "onnx": self._write_onnx, "safetensors": self._write_safetensors}[form]
        return write(directory)

    def _write_torch(self, directory: Path) -> nn.Module:
        path = directory / FILES["torch"][0]
        torch.export.save(self.program, path)
        return Computed(torch.export.load(path).module())

    def _write_onnx(self, directory: Path) -> nn.Module:
        path = directory / FILES["onnx"][0]
        names: dict[str, Any] = {"input_names": ["images"], "output_names": ["logits"]}
        program = self.program
        try:
            torch.onnx.export(program, f=path, dynamo=True, external_data=False, verbose=False, **names)
            return read_onnx(path)
        except Exception as error:  # the exporter and the runtime have many kinds
            raise cannot_be_written("onnx", self.network, error, "torch or safetensors") from error

    def _write_safetensors(self, directory: Path) -> nn.Module:
        weights, config = (directory / name for name in FILES["safetensors"])
        state = {name: value.clone().contiguous() for name, value in self.network.body.state_dict().items()}
        weights.write_bytes(save(state, metadata={"format": "pt"}))
        own: dict[str, Any] = {"network": self.network.spec.as_plain()}
        own |= {"label_names": list(self.class_names)} if self.class_names else {}
        write_json(config, own | timm_config(self.network, self.images))
        if not loads_in_timm(directory, self.network, self.images):
            write_json(config, own)
        return load_exported(directory)


def trace(network: Network, images: Tensor) -> ExportedProgram:
    """Return what ``torch.export`` makes of a network, for any number of images; of masks for any size, if it can.

    Raises:
        ValueError: it makes nothing of it.
    """
    batch: dict[int, Any] = {0: Dim.DYNAMIC}
    is_dense = resolve(network.spec.name)[0] is SEGMENTATION
    attempts = [batch | {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}, batch] if is_dense else [batch]
    for shapes in attempts:
        try:
            with torch.no_grad():
                return export(network, (images,), dynamic_shapes=(shapes,))
        except Exception as error:  # torch.export has many kinds
            reason = error
    raise cannot_be_written("torch", network, reason, "safetensors") from reason


def read_onnx(path: Path) -> Computed:
    """Return what ONNX Runtime computes from a file, on one thread of the CPU."""
    onnxruntime: Any = importlib.import_module("onnxruntime")  # an extra, without types
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return Computed(partial(run_session, session))


def run_session(session: Any, images: Tensor) -> Tensor:
    """Return the logits that a session of ONNX Runtime gives for ``images (N, C, H, W)``."""
    return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def load_exported(directory: str | Path) -> Network:
    """Return the network of ``model.safetensors`` and ``config.json``, in evaluation mode.

    Raises:
        ValueError: one of the two is missing, damaged, or not as ``export`` writes it.
    """
    weights, config = (Path(directory).expanduser() / name for name in FILES["safetensors"])
    spec = (read_json(config) or {}).get("network")
    if spec is None:
        raise ValueError(f"{config}: expected what export --format safetensors writes, with a 'network' in it")
    network = rebuild(spec)
    load_weights(network, read_weights(weights), exact=True)
    return network.eval()


def require_packages(formats: Sequence[str]) -> None:
    """Raise a ``ValueError`` where a format needs packages that are not installed."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None] if "onnx" in formats else []
    expected = f"the packages {', '.join(missing)}, which are not installed: pip install '.[export]'"
    require(not missing, "format", "onnx", expected)


def cannot_be_written(form: str, network: Network, error: Exception, instead: str) -> ValueError:
    """Return the error for a network that a format has no room for."""
    reason = " ".join((str(error) or type(error).__name__).split())[:300]
    return ValueError(
        f"format: got {form!r} for {network.spec.name!r}, expected {instead}: it cannot be exported so ({reason})"
    )
