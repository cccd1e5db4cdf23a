"""Classification networks turned convolutional.

Long, Shelhamer and Darrell 2015, "Fully convolutional networks for semantic segmentation", section 3.1.
"""

import math

import torch
import torch.nn.functional as F
from timm.layers import SelectAdaptivePool2d
from timm.models.vgg import ConvMlp
from torch import Tensor, fx, nn

from lightning_modules.networks.segmentation.tracing import PROBES, TracedClassifier, measure, trace_classifier

POOLING_LAYERS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, SelectAdaptivePool2d, nn.Flatten)
POOLING_FUNCTIONS = (F.adaptive_avg_pool2d, F.adaptive_max_pool2d, torch.flatten, torch.mean)
POOLING_METHODS = ("mean", "flatten")
"""What a head pools and flattens its last map with: all of them leave a map of one pixel as it is."""


class Unwrapped(nn.Module):
    """Returns the only output of a network that returns a tuple of one."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``(N, K, H', W')`` of normalised ``images (N, C, H, W)``."""
        logits: Tensor = self.network(images)[0]
        return logits


def convolutionize(body: nn.Module) -> nn.Module:
    """Return a classification network that gives its logits for every place of its last map, with the same weights.

    It returns ``(N, K, H', W')`` of normalised images ``(N, C, H, W)``. Where H' = W' = 1, these are the logits of the
    classifier; larger images are classified at many places at once.

    Args:
        body: the classifier. Its layers go into the result and must not be used any more by themselves.

    Raises:
        ValueError: the network cannot be traced, or its head is not made of linear layers after a pooled map.
    """
    traced = trace_classifier(body)
    logits = make_head_convolutional(traced, keep_size=False)
    return Unwrapped(traced.with_outputs([logits]))


def make_head_convolutional(traced: TracedClassifier, *, keep_size: bool) -> fx.Node:
    """Turn the head's linear layers into convolutions, in place, and return what then computes the logits.

    Args:
        traced: the classifier; after it its ``graph`` has maps where it had features.
        keep_size: pad the convolutions that take more than a pixel, so that logits have the size of the last map.

    Raises:
        ValueError: the logits are no map then.
    """
    if not traced.levels:
        raise not_convolutional(traced.body, "it has no map that grows with the images")
    channels = traced.levels[-1].channels
    for node in traced.head:
        layer = traced.body.get_submodule(str(node.target)) if node.op == "call_module" else None
        if is_pooling(node, layer):
            node.replace_all_uses_with(node.args[0])  # type: ignore[arg-type]
            traced.graph.erase_node(node)
        elif isinstance(layer, nn.Linear):
            traced.body.set_submodule(str(node.target), as_convolution(layer, channels, keep_size))
            channels = layer.out_features
        elif isinstance(layer, ConvMlp) and keep_size:
            keep_size_of(layer)
        if len(traced.shapes[node]) == 4:
            channels = traced.shapes[node][1]
    output = next(node for node in traced.graph.nodes if node.op == "output")
    logits: fx.Node = output.args[0]
    require_map(traced, logits)
    return logits


def is_pooling(node: fx.Node, layer: nn.Module | None) -> bool:
    """Return whether a node of the head pools or flattens."""
    if isinstance(layer, POOLING_LAYERS):
        return True
    return node.target in (POOLING_METHODS if node.op == "call_method" else POOLING_FUNCTIONS)


def as_convolution(layer: nn.Linear, channels: int, keep_size: bool) -> nn.Conv2d:
    """Return the convolution that has a linear layer's weights: as large as the map that was flattened before it."""
    side = math.isqrt(layer.in_features // channels)
    padding = side // 2 if keep_size else 0
    convolution = nn.Conv2d(channels, layer.out_features, side, padding=padding, bias=layer.bias is not None)
    weight = layer.weight.detach().view(layer.out_features, -1, side, side)
    convolution.weight = nn.Parameter(weight)
    convolution.bias = layer.bias
    return convolution


def keep_size_of(layer: ConvMlp) -> None:
    """Let the first convolution of timm's VGG classifier pad its maps, where it else enlarges small ones."""
    layer.fc1.padding = tuple(side // 2 for side in layer.fc1.kernel_size)
    layer.input_kernel_size = 1


def require_map(traced: TracedClassifier, logits: fx.Node) -> None:
    """Raise a ``ValueError`` unless a large image has logits at many places."""
    try:
        shapes = measure(traced.body, traced.graph, PROBES[1])
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise not_convolutional(traced.body, str(error).splitlines()[0]) from error
    shape = shapes[logits]
    if len(shape) != 4 or min(shape[2:]) < 2:
        raise not_convolutional(traced.body, "its head has layers that no convolution replaces")


def not_convolutional(body: nn.Module, reason: str) -> ValueError:
    """Return the error for a network that cannot be turned convolutional."""
    return ValueError(
        f"encoder: got {type(body).__name__}, expected a network that linear layers end after a pooled map ({reason}); "
        "use one such as resnet18 or vgg16"
    )
