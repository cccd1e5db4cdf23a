"""The order of a network's layers, from stem to head."""

from collections.abc import Iterable, Iterator
from typing import Any

from timm.models import group_parameters
from torch import nn


def find_head(body: nn.Module, num_classes: int | None = None) -> str:
    """Return the dotted name within ``body`` of the module that gives the logits.

    It is the linear layer or convolution that timm's networks name as their classifier; of a classifier of several
    layers, or of a body that names none, the last linear layer or 1×1 convolution with ``num_classes`` outputs
    (``None``: any number) in the order of registration.

    Raises:
        ValueError: there is none.
    """
    return find_heads(body, num_classes)[0]


def find_heads(body: nn.Module, num_classes: int | None = None) -> list[str]:
    """Return what ``find_head`` does, and the heads beside it: distilled transformers of timm have two.

    Raises:
        ValueError: there is none.
    """
    names = {module: name for name, module in body.named_modules()}
    named = [names[classifier] for classifier in named_classifiers(body) if classifier in names]
    heads = [head for name in named for head in heads_within(body, name, num_classes)]
    heads = heads or last_layers(body, num_classes)[-1:]
    if not heads:
        raise ValueError(
            f"network: got {type(body).__name__} without a linear layer or 1×1 convolution of "
            f"{num_classes or 'any'} outputs, expected one to be its head; use a network that ends in its classifier"
        )
    return heads


def named_classifiers(body: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules that one of timm's networks names as its classifiers, VOLO's for its tokens among them."""
    named: list[Any] = [getattr(body, "get_classifier", tuple)(), getattr(body, "aux_head", None)]
    while named:
        classifier = named.pop(0)
        if isinstance(classifier, tuple | list | nn.ModuleList):
            named = [*classifier, *named]
        elif isinstance(classifier, nn.Module) and learns(classifier):
            yield classifier


def heads_within(body: nn.Module, name: str, num_classes: int | None) -> list[str]:
    """Return the names of the layers that give the logits in the classifier ``name``, several where side by side."""
    classifier = body.get_submodule(name)
    if isinstance(classifier, nn.Linear | nn.Conv2d):
        return [name]
    return [".".join(filter(None, (name, layer))) for layer in last_layers(classifier, num_classes)]


def last_layers(module: nn.Module, num_classes: int | None) -> list[str]:
    """Return the name of the last linear layer or 1×1 convolution, after those with weights of the same shape."""
    outputs = {name: num_outputs(layer) for name, layer in module.named_modules()}
    layers = [name for name, count in outputs.items() if count and num_classes in (None, count)]
    shapes = {name: module.get_parameter(f"{name}.weight".removeprefix(".")).shape for name in layers}
    return [name for name in layers if shapes[name] == shapes[layers[-1]]]


def layer_groups(network: nn.Module) -> list[list[str]]:
    """Return the names of all parameters, as ``named_parameters`` has them, in groups from the stem to the head.

    A group is what timm's ``group_matcher(coarse=True)`` says, where the network has one: a stage of most, a block
    of transformers, a convolution of VGG. Else it is a child of the body, in the order of registration, and
    ``nn.Sequential`` children are opened where they hold layers or stages, not blocks. Norms join the group before.

    The last group is the head alone, with the auxiliary classifiers that the body names in ``auxiliary_heads``: they
    too give one output a class, so they are new wherever the head is.

    Raises:
        ValueError: the network has no head.
    """
    spec = getattr(network, "spec", None)
    body, prefix = (network, "") if spec is None else (network.get_submodule("body"), "body.")
    while isinstance(getattr(body, "folded", None), nn.Module):  # the layers of ``Folded`` are those of its network
        body, prefix = body.get_submodule("folded"), f"{prefix}folded."
    heads = find_heads(body, None if spec is None else spec.num_classes)
    last_modules = [*heads, *getattr(body, "auxiliary_heads", ())]
    last = [name for name, _ in body.named_parameters() if within(name, last_modules)]
    groups = [[name for name in group if name not in set(last)] for group in backbone_groups(body, heads)]
    return [[prefix + name for name in group] for group in [*join_norms(groups, body), last]]


def backbone_groups(body: nn.Module, heads: list[str]) -> list[list[str]]:
    """Return the names of the body's parameters in groups, the head's and empty groups among them."""
    if hasattr(body, "group_matcher"):
        matched = group_parameters(body, timm_matcher(body))
        return [matched[number] for number in sorted(matched)]
    units = find_units(body, heads)
    groups: dict[str, list[str]] = {unit: [] for unit in ("", *units)}
    for name, _ in body.named_parameters():
        holders = [unit for unit in units if within(name, [unit])]
        groups[max(holders, key=len, default="")].append(name)
    stem = [*groups.pop(""), *(groups.pop(units[0]) if units else [])]
    return [stem, *groups.values()]


def timm_matcher(body: Any) -> Any:
    """Return the matcher of one of timm's networks: of stages, or of blocks where it has none of stages."""
    try:
        return body.group_matcher(coarse=True)
    except AssertionError:  # RDNet
        return body.group_matcher(coarse=False)


def find_units(body: nn.Module, heads: list[str]) -> list[str]:
    """Return the names of the modules that a body without a matcher is made of, in the order of registration."""
    units = [name for name, child in body.named_children() if learns(child)]
    backbone = [name for name in units if not holds(name, heads)]
    if len(backbone) == 1:
        whole = backbone
        while len(whole) == 1 and opened(body, whole[0]):
            whole = opened(body, whole[0])
        return [part for name in units for part in (whole if name in backbone else parts(body, name, heads))]
    return [part for name in units for part in parts(body, name, heads)]


def parts(body: nn.Module, name: str, heads: list[str]) -> list[str]:
    """Return a child's children, where they are units: layers or stages, or one of them is the head. Else its name."""
    child = body.get_submodule(name)
    if name in heads or not isinstance(child, nn.Sequential):
        return [name]
    layers = [layer for layer in child if learns(layer)]
    is_open = holds(name, heads) or all(isinstance(layer, nn.Sequential) or is_leaf(layer) for layer in layers)
    return opened(body, name) if is_open else [name]


def opened(body: nn.Module, name: str) -> list[str]:
    """Return the names of a module's children that have parameters."""
    return [f"{name}.{child}" for child, part in body.get_submodule(name).named_children() if learns(part)]


def join_norms(groups: list[list[str]], body: nn.Module) -> list[list[str]]:
    """Return the groups without empty ones; a group of vectors alone, a norm's, joins the group before it."""
    dimensions = {name: parameter.ndim for name, parameter in body.named_parameters()}
    joined: list[list[str]] = []
    for group in filter(None, groups):
        if joined and all(dimensions[name] <= 1 for name in group):
            joined[-1] = joined[-1] + group
        else:
            joined.append(group)
    return joined


def num_outputs(module: nn.Module) -> int | None:
    """Return how many outputs a linear layer or 1×1 convolution has, ``None`` for anything else."""
    if isinstance(module, nn.Linear):
        return module.out_features
    if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
        return module.out_channels
    return None


def within(name: str, modules: Iterable[str]) -> bool:
    """Return whether a dotted name is of one of the modules or of something in them; ``""`` is the whole body."""
    return any(not module or f"{name}.".startswith(f"{module}.") for module in modules)


def holds(name: str, heads: list[str]) -> bool:
    """Return whether one of the heads is the module ``name`` or in it."""
    return any(within(head, [name]) for head in heads)


def learns(module: nn.Module) -> bool:
    """Return whether a module has parameters, frozen or not."""
    return next(module.parameters(), None) is not None


def is_leaf(module: nn.Module) -> bool:
    """Return whether a module has no modules in it."""
    return next(module.children(), None) is None
