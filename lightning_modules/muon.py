"""Muon, with all matrices of one shorter side orthogonalised at once."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import timm.optim
import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

COEFFICIENTS = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
"""Of each iteration: timm's ``quintic``."""

LARGEST_ASPECT = 128
"""Longer matrices, and those thinner than ``SMALLEST_SIDE``, are left to AdamW, as timm leaves them."""

SMALLEST_SIDE = 4
LARGEST_SIDE = 128
"""Where the shorter side is longer, timm's products in bfloat16 were as fast or faster (a processor with tiles)."""

SMALLEST_NORM = 1e-7


class Muon(timm.optim.Muon):  # type: ignore[misc]
    """timm's Muon (Jordan et al. 2024), faster for the small matrices of small networks.

    timm takes one matrix after the other, in bfloat16. Here small ones of one shorter side are one batch, in float32: a
    step of a small ResNet takes a third of the time on two CPU cores. State is timm's, and so are the steps of large
    matrices and of other parameters: AdamW's, or NAdamW's with Nesterov's momentum.
    """

    def __init__(
        self, params: ParamsT, lr: float = 0.02, weight_decay: float = 0, momentum: float = 0.95, nesterov: bool = False
    ) -> None:
        super().__init__(params, lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step; return what ``closure`` returns, if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        gradients = []
        for group in self.param_groups:
            taken = [] if group.get("use_fallback") else [each for each in group["params"] if each.grad is not None]
            matrices = [parameter for parameter in taken if takes_muon(parameter)]
            gradients += [(matrix, matrix.grad) for matrix in matrices]
            for alike in by_shorter_side(matrices):
                with full_precision(alike[0].device):
                    self.update(alike, group)
        for matrix, _ in gradients:
            matrix.grad = None
        try:
            without_hooks(timm.optim.Muon.step)(self)
        finally:
            for matrix, gradient in gradients:
                matrix.grad = gradient
        return loss

    def update(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        """Move matrices of one shorter side by the orthogonalised means of their gradients."""
        momentum, lr = group["momentum"], group["lr"]
        momenta = []
        for matrix in matrices:
            state = self.state[matrix]
            if not state:
                state |= {"use_muon": True, "momentum_buffer": torch.zeros_like(matrix)}
            gradient: Tensor = matrix.grad  # type: ignore[assignment]
            mean = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
            mean = torch.lerp(gradient, mean, momentum) if group["nesterov"] else mean
            momenta.append(mean.flatten(1).float())
        for matrix, direction in zip(matrices, orthogonalized(momenta), strict=True):
            scale = 0.2 * max(direction.shape) ** 0.5
            matrix.mul_(1 - lr * group["weight_decay"]).add_(direction.reshape(matrix.shape), alpha=-lr * scale)


def without_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    """Return an optimizer's step as its class defines it: PyTorch wraps it in the calls of hooks, once a class."""
    return step.__wrapped__ if getattr(step, "hooked", False) else step  # type: ignore[attr-defined]


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Have products of float32 matrices be of float32: the iteration on squares diverges in TF32 and bfloat16."""
    backend: Any = torch.backends.cuda if device.type == "cuda" else torch.backends.mkldnn
    products = backend.matmul
    before = products.fp32_precision
    products.fp32_precision = "ieee"
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        products.fp32_precision = before


def takes_muon(parameter: Tensor) -> bool:
    """Return whether a parameter is a small matrix, or a convolution that is one, and not a long thin one."""
    if parameter.ndim < 2 or not parameter.numel() or 1 in parameter.shape[:2]:
        return False
    shorter, longer = sorted((parameter.shape[0], parameter[0].numel()))
    return SMALLEST_SIDE <= shorter <= LARGEST_SIDE and longer <= LARGEST_ASPECT * shorter


def by_shorter_side(matrices: list[Tensor]) -> list[list[Tensor]]:
    """Return the matrices in lists of one shorter side and device each."""
    groups: dict[Any, list[Tensor]] = defaultdict(list)
    for matrix in matrices:
        groups[min(len(matrix), matrix[0].numel()), matrix.device].append(matrix)
    return list(groups.values())


def orthogonalized(matrices: list[Tensor]) -> list[Tensor]:
    """Return matrices with singular values near 1, of float32 matrices that have one shorter side.

    Newton and Schulz' quintic iteration, X <- (a + b A + c A^2) X where A = X X^T and X has norm 1 at first. All its
    factors are polynomials of the first A and commute: A follows from them, and X is needed first and last alone.
    """
    wide = [matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT for matrix in matrices]
    squares = torch.stack([matrix @ matrix.mT for matrix in wide])
    norms = squares.diagonal(dim1=1, dim2=2).sum(dim=1).sqrt().clamp(min=SMALLEST_NORM).view(-1, 1, 1)
    squares = squares / norms**2
    product = torch.eye(squares.shape[1], dtype=squares.dtype, device=squares.device) / norms
    for first, second, third in COEFFICIENTS:
        factor = torch.baddbmm(squares, squares, squares, beta=second, alpha=third)
        factor.diagonal(dim1=1, dim2=2).add_(first)
        product, squares = factor @ product, factor @ squares @ factor
    directions = [factor @ matrix for factor, matrix in zip(product, wide, strict=True)]
    pairs = zip(directions, matrices, strict=True)
    return [direction if direction.shape == matrix.shape else direction.mT for direction, matrix in pairs]
