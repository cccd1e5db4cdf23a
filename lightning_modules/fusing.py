"""Layers that inference computes as one with the convolutions before them: batch norms and ReLU."""

import inspect
from collections import Counter
from collections.abc import Iterator
from typing import cast

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lightning_modules.small_maps import SmallMapConv2d, is_small, takes_patches

OPERATION = "_convolution_pointwise"
"""Of ``torch.ops.mkldnn``; PyTorch's compiler emits it, nothing documents it. Without it, no ReLU is fused."""


class LayerTracer(fx.Tracer):
    """Records a forward pass as a graph in which convolutions and batch norms are whole, also those of others."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether ``m`` is one node of the graph."""
        return isinstance(m, nn.BatchNorm2d | nn.Conv2d) or super().is_leaf_module(m, module_qualified_name)


def fold_batch_norms(network: nn.Module) -> None:
    """Fold, in place, every batch norm of evaluation mode into the convolution right before it.

    The graph of a forward pass tells which pairs there are; the network's own code stays, and so does what cannot be
    folded.
    """
    for part, graph in recorded_parts(network):
        for convolution_name, norm_name in pairs_of(part, graph):
            convolution, norm = part.get_submodule(convolution_name), part.get_submodule(norm_name)
            if is_foldable(convolution, norm):
                fused = fuse_conv_bn_eval(cast(nn.Conv2d, convolution), cast(nn.BatchNorm2d, norm))
                part.set_submodule(convolution_name, fused)
                part.set_submodule(norm_name, after_norm(norm))


def recorded_parts(network: nn.Module) -> Iterator[tuple[nn.Module, fx.Graph]]:
    """Yield a network with the graph of its forward pass; where none can be recorded, its children, one by one."""
    graph = record(network)
    if graph is not None:
        yield network, graph
        return
    for child in network.children():
        yield from recorded_parts(child)


def record(network: nn.Module) -> fx.Graph | None:
    """Return the graph of a forward pass on one input, other arguments at their defaults; ``None`` where it fails."""
    arguments = list(inspect.signature(network.forward).parameters.values())[1:]
    defaults = {argument.name: argument.default for argument in arguments if argument.default is not argument.empty}
    try:
        return LayerTracer().trace(network, defaults)
    except Exception:  # foreign code, run on symbols: anything may be raised
        return None


def pairs_of(network: nn.Module, graph: fx.Graph) -> list[tuple[str, str]]:
    """Return the names of layers called once whose output goes to another such layer alone, each with that one's.

    Between the two there may be identities, such as folded norms. Layers of several names are left out.
    """
    modules = dict(network.named_modules(remove_duplicate=False))
    names = Counter(map(id, modules.values()))
    calls = [node for node in graph.nodes if node.op == "call_module"]
    uses = Counter(id(modules[str(node.target)]) for node in calls)
    pairs = []
    for second in calls:
        first = source_of(second)
        while first is not None and is_identity(modules[str(first.target)]):
            first = source_of(first)
        ends = [] if first is None else [id(modules[str(node.target)]) for node in (first, second)]
        if first is not None and all(uses[end] == names[end] == 1 for end in ends):
            pairs.append((str(first.target), str(second.target)))
    return pairs


def is_identity(layer: nn.Module) -> bool:
    """Return whether a layer gives what it gets."""
    return type(layer) is nn.Identity and not has_hooks(layer)


def source_of(call: fx.Node) -> fx.Node | None:
    """Return the call of a layer whose output goes to ``call`` and nowhere else, if there is one."""
    source = call.args[0] if call.args else None
    return source if isinstance(source, fx.Node) and source.op == "call_module" and len(source.users) == 1 else None


def is_foldable(convolution: nn.Module, norm: nn.Module) -> bool:
    """Return whether they are a plain convolution and a batch norm with fixed statistics, without hooks."""
    if type(convolution) is not nn.Conv2d or type(norm) not in (nn.BatchNorm2d, BatchNormAct2d):
        return False
    return norm.running_mean is not None and not has_hooks(convolution, norm)


def has_hooks(*layers: nn.Module) -> bool:
    """Return whether hooks, such as of weight norm, may change what some layer gets or gives."""
    return any(layer._forward_pre_hooks or layer._forward_hooks for layer in layers)


def after_norm(norm: nn.Module) -> nn.Module:
    """Return what is left of a folded norm: timm's drop and activate after it."""
    return nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()


class ConvReLU2d(SmallMapConv2d):
    """A convolution and the ReLU after it, which oneDNN computes together: of finite numbers the same, a pass less."""

    def forward(self, input: Tensor) -> Tensor:
        """Return ``(N, K, H', W')``, none below 0, of ``input (N, C, H, W)``."""
        input = input.to(self.weight.dtype)
        if takes_patches(self) and is_small(input):
            return super().forward(input).relu_()
        padding, stride, dilation = (
            [int(each) for each in pair] for pair in (self.padding, self.stride, self.dilation)
        )
        operation = getattr(torch.ops.mkldnn, OPERATION)
        maps: Tensor = operation(input, self.weight, self.bias, padding, stride, dilation, self.groups, "relu", [], "")
        return maps


def fuse_relus(network: nn.Module) -> None:
    """Have convolutions on a processor compute the ReLU after them, in place, where nothing else reads their outputs.

    Only where the whole forward pass can be recorded, and all weights are finite: oneDNN's ReLU makes NaN 0.
    """
    graph = record(network)
    if graph is None or not all(bool(weight.isfinite().all()) for weight in network.parameters()):
        return
    for convolution_name, relu_name in pairs_of(network, graph):
        convolution, relu = network.get_submodule(convolution_name), network.get_submodule(relu_name)
        if takes_relu(convolution) and type(relu) is nn.ReLU and not has_hooks(convolution, relu):
            convolution.__class__ = ConvReLU2d
            network.set_submodule(relu_name, nn.Identity())


def takes_relu(layer: nn.Module) -> bool:
    """Return whether a layer is a convolution of ours or PyTorch's that oneDNN computes, padded by zeros."""
    if type(layer) not in (nn.Conv2d, SmallMapConv2d) or not hasattr(torch.ops.mkldnn, OPERATION):
        return False
    lowered = layer.weight.dtype == torch.bfloat16
    known = torch.ops.mkldnn._is_mkldnn_bf16_supported() if lowered else layer.weight.dtype == torch.float32
    return bool(known) and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
