"""The losses of auxiliary classifiers, which only training has.

    L = L(logits) + 0.3 * sum of L(auxiliary logits)

Szegedy et al. 2015, "Going deeper with convolutions", section 5.
"""

from collections.abc import Callable, Sequence

from torch import Tensor

AUXILIARY_WEIGHT = 0.3


def with_auxiliary(loss: Callable[[Tensor], Tensor], logits: Tensor, auxiliary: Sequence[Tensor]) -> Tensor:
    """Return the loss of the logits plus 0.3 times that of each auxiliary classifier.

    Args:
        loss: logits in, scalar out.
        logits: ``(N, K)``.
        auxiliary: logits ``(N, K)`` of each auxiliary classifier; empty where there is none.
    """
    total = loss(logits)
    for auxiliary_logits in auxiliary:
        total = total + AUXILIARY_WEIGHT * loss(auxiliary_logits)
    return total
