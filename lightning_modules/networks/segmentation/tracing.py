"""The maps of a classification network: where each size of them ends, and where its head begins."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.vgg import ConvMlp
from torch import Tensor, fx, nn
from torch.func import functional_call

from lightning_modules.networks.layers import find_heads, holds
from lightning_modules.networks.shapes import ShapesOnly

PROBES = (256, 512)
"""Sides in pixels, multiples of every stride, by which a network is measured."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Level:
    """The last map of a size before the head.

    Attributes:
        stride: pixels of the image for each pixel of the map.
        channels: of the map.
        node: what computes it.
    """

    stride: int
    channels: int
    node: fx.Node


@dataclass(frozen=True)
class TracedClassifier:
    """A classification network as a graph of its layers.

    Attributes:
        body: the network, which holds the layers.
        graph: its computation.
        levels: maps from the finest to the coarsest.
        head: what follows the last map, in order, without the output.
        shapes: of each node for two images of the first of ``PROBES``.
    """

    body: nn.Module
    graph: fx.Graph
    levels: tuple[Level, ...]
    head: tuple[fx.Node, ...]
    shapes: dict[fx.Node, Shape]

    def with_outputs(self, nodes: Sequence[fx.Node]) -> fx.GraphModule:
        """Return the network that returns what these nodes compute, without the layers that none of them needs."""
        output = next(node for node in self.graph.nodes if node.op == "output")
        output.args = (tuple(nodes),)
        self.graph.eliminate_dead_code()
        return fx.GraphModule(self.body, self.graph).train()


class StageTracer(fx.Tracer):
    """Looks into sequences of layers and into what holds the head; any other module, such as a block, is one node."""

    def __init__(self, heads: Sequence[str] = ()) -> None:  # without heads where a graph is unpickled
        super().__init__()
        self.heads = list(heads)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether a module is one node of the graph."""
        is_sequence = type(m).forward is nn.Sequential.forward
        return not is_sequence and (
            isinstance(m, nn.Linear | nn.Conv2d) or not holds(module_qualified_name, self.heads)
        )


class Measuring(nn.Module):
    """Runs a graph and notes the shapes of all that it computes."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__()
        self.module = module
        self.shapes: dict[fx.Node, Shape] = {}

    def forward(self, images: Tensor) -> None:
        """Measure with ``images (N, C, H, W)``."""
        shapes = self.shapes

        class Noting(fx.Interpreter):
            def run_node(self, n: fx.Node) -> Any:
                result = super().run_node(n)
                shapes[n] = tuple(result.shape) if isinstance(result, Tensor) else ()
                return result

        Noting(self.module).run(images)


def trace_classifier(body: nn.Module) -> TracedClassifier:
    """Find the maps and the head of a classification network.

    Raises:
        ValueError: its computation depends on the images' size, or they have to be of one size.
    """
    body.eval()  # auxiliary classifiers and other branches of training alone are left out
    try:
        graph = StageTracer(find_heads(body)).trace(body)
        use_dropout_layers(body, graph)
        smaller, larger = (measure(body, graph, side) for side in PROBES)
    except (RuntimeError, TypeError, ValueError, AssertionError, fx.proxy.TraceError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"encoder: got {type(body).__name__}, expected a convolutional network that takes images of any size and "
            f"can be traced ({reason}); use one such as resnet18"
        ) from error
    maps = [node for node in trunk(body, graph) if is_map(smaller[node], larger[node])]
    strides = {node: (PROBES[1] - PROBES[0]) // (larger[node][-1] - smaller[node][-1]) for node in maps}
    last = {strides[node]: node for node in maps}
    levels = tuple(Level(stride, smaller[node][1], node) for stride, node in sorted(last.items()))
    nodes = [node for node in graph.nodes if node.op != "output"]
    head = nodes[nodes.index(maps[-1]) + 1 :] if maps else []
    return TracedClassifier(body, graph, levels, tuple(head), smaller)


def measure(body: nn.Module, graph: fx.Graph, side: int) -> dict[fx.Node, Shape]:
    """Return the shape of each node for two images of ``side`` pixels, ``()`` where it is no tensor."""
    measuring = Measuring(fx.GraphModule(body, graph))
    nodes = dict(zip(measuring.module.graph.nodes, graph.nodes, strict=True))
    state = [*measuring.named_parameters(), *measuring.named_buffers()]
    num_channels = next(module.in_channels for module in body.modules() if isinstance(module, nn.Conv2d))
    on_meta = {name: torch.empty_like(value, device="meta") for name, value in state}
    with torch.device("meta"), torch.no_grad(), ShapesOnly():
        functional_call(measuring, on_meta, (torch.empty(2, num_channels, side, side),))
    return {nodes[node]: shape for node, shape in measuring.shapes.items()}


def is_map(smaller: Shape, larger: Shape) -> bool:
    """Return whether shapes ``(N, C, H, W)`` of one node grow with the images' side, rows and columns alike."""
    are_square = len(smaller) == len(larger) == 4 and smaller[2] == smaller[3] and larger[2] == larger[3]
    return are_square and smaller[1] == larger[1] and smaller[-1] < larger[-1]


def trunk(body: nn.Module, graph: fx.Graph) -> list[fx.Node]:
    """Return the nodes between the images and the output; in timm's VGG, up to the convolutional classifier."""
    nodes = [node for node in graph.nodes if node.op not in ("placeholder", "output")]
    modules = [body.get_submodule(str(node.target)) if node.op == "call_module" else None for node in nodes]
    ends = [number for number, module in enumerate(modules) if isinstance(module, ConvMlp)]
    return nodes[: ends[0]] if ends else nodes


def use_dropout_layers(body: nn.Module, graph: fx.Graph) -> None:
    """Turn calls of ``F.dropout``, which would stay as they were traced, into layers that training switches on."""
    for number, node in enumerate(graph.nodes):
        if node.op == "call_function" and node.target is F.dropout:
            name = f"dropout_{number}"
            body.add_module(name, nn.Dropout(float(node.kwargs.get("p", (*node.args, 0.5)[1]))))
            with graph.inserting_before(node):
                node.replace_all_uses_with(graph.call_module(name, (node.args[0],)))
            graph.erase_node(node)
