"""Any torchvision v2 transform as an operation: called once a sample, seeded by the sample's key."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from datamodules.augmentation.keys import high_bits


@dataclass(frozen=True)
class PerSampleTransform:
    """Applies a transform image by image; the global random states are as before afterwards.

    Attributes:
        transform: takes and returns a ``(C, H, W)`` uint8 image, all of one size in the end; it may draw from
            torch's, NumPy's and Python's global generators.
    """

    transform: Callable[[Tensor], Tensor]

    def __call__(self, images: Tensor, keys: Tensor) -> Tensor:
        """Return ``(N, C', H', W')`` uint8 of ``images (N, C, H, W)`` uint8, steered by ``keys (N,)``.

        Raises:
            ValueError: the transform returns something else than uint8 images of one size.
        """
        results = []
        with preserved_random_states(images.device):
            for image, seed in zip(images, high_bits(keys, 32).tolist(), strict=True):
                torch.manual_seed(seed)
                np.random.seed(seed)
                random.seed(seed)
                results.append(self.transform(image))
        kinds = {(tuple(result.shape), result.dtype) for result in results}
        if len(kinds) != 1 or results[0].dtype != torch.uint8:
            raise ValueError(
                f"transform: got images of {sorted(map(str, kinds))}, expected uint8 images of one size; "
                "resize to a fixed size and leave out conversion to float and normalisation"
            )
        return torch.stack(results).as_subclass(Tensor)


@contextmanager
def preserved_random_states(device: torch.device) -> Iterator[None]:
    """Put the global states of torch (CPU and ``device``), NumPy and Python back at the end."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
