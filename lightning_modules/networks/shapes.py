"""Networks on the meta device: their shapes and numbers of parameters, without a weight being made."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

SLOW = {F.batch_norm, F.hardswish, F.hardsigmoid, Tensor.normal_, Tensor.uniform_, Tensor.erfinv_}


class ShapesOnly(TorchFunctionMode):
    """Within it batch norm, hard activations and initial values, which change no shape, give back what they get.

    On the meta device these are decomposed in Python, and take ten times as long as all the rest. Batch norm's
    complaint of a single value a channel is lost with it, which two images never cause.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call ``func``, or skip it."""
        named = kwargs or {}
        if func in SLOW or getattr(func, "__module__", "") == nn.init.__name__:
            return args[0] if args else named["tensor"]
        return func(*args, **named)
