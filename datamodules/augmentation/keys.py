"""Counter-based random numbers: what a sample draws depends on its key alone, never on global state.

A key is 64 random bits, made of a seed, an epoch and a sample id by the finaliser of SplitMix64 (Steele, Lea and Flood,
"Fast Splittable Pseudorandom Number Generators", OOPSLA 2014). The same three give the same key on every device, in
every process and in every batch. One number is drawn from a key; for more, ``fold_in`` makes independent keys of it.
"""

from functools import lru_cache
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Bits = TypeVar("Bits", Tensor, NDArray[np.int64])
"""64-bit words. On the CPU they are NumPy arrays, which start a small operation in a third of the time of torch's."""

ID_STRIDE = 0x9E3779B97F4A7C15 - 2**64
"""Distance of neighbouring counters: odd and nearest to 2**64 over the golden ratio, as in SplitMix64."""

EPOCH_STRIDE = 0xD1342543DE82EF95 - 2**64
"""Another odd number of well-spread bits (Steele and Vigna 2022), so that epochs and ids do not meet."""

MULTIPLIERS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)


def sample_keys(seed: int, epochs: Tensor, ids: Tensor) -> Tensor:
    """Return ``(N,)`` int64 keys of the samples ``ids (N,)`` int64, seen in ``epochs (N,)`` int64 under ``seed``."""
    if ids.device.type == "cpu":
        return torch.from_numpy(mix_sample(seed, epochs.numpy(), ids.numpy()))
    return mix_sample(seed, epochs, ids)


def fold_in(keys: Tensor, data: int) -> Tensor:
    """Return independent keys of the same shape, others for every ``data``."""
    if keys.device.type == "cpu":
        return torch.from_numpy(mix(keys.numpy() + mix_integer(data)))
    return mix(keys + mix_integer(data))


def split(keys: Tensor, num: int) -> Tensor:
    """Return ``(..., num)`` independent keys of ``keys (...)``, to draw several numbers a sample."""
    return torch.stack([fold_in(keys, position) for position in range(num)], dim=-1)


def uniform(keys: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Return float32 numbers uniform in ``[low, high)``, of the keys' shape; ``low`` where the two are equal."""
    numbers = high_bits(keys, 24).float().mul_((high - low) * 2**-24).add_(low)
    below_high = float(np.nextafter(np.float32(high), np.float32(-np.inf)))
    return numbers.clamp_(max=max(low, below_high))


def random_integers(keys: Tensor, low: int, high: int | Tensor) -> Tensor:
    """Return int64 numbers uniform in ``[low, high)``, of the keys' shape; ``high`` may differ by sample.

    The shares of the numbers differ by at most ``(high - low) / 2**32``.
    """
    if keys.device.type == "cpu" and isinstance(high, int):
        words = shift_right(keys.numpy(), 32) * (high - low) >> 32
        return torch.from_numpy(words + low if low else words)
    numbers = high_bits(keys, 32).mul_(high - low).bitwise_right_shift_(32)
    return numbers.add_(low) if low else numbers


def high_bits(keys: Tensor, num_bits: int) -> Tensor:
    """Return the upper ``num_bits`` of each key as int64 in ``[0, 2**num_bits)``."""
    if keys.device.type == "cpu":
        return torch.from_numpy(shift_right(keys.numpy(), 64 - num_bits))
    return shift_right(keys, 64 - num_bits)


def mix_sample(seed: int, epochs: Bits, ids: Bits) -> Bits:
    """Return the keys of samples: their counters, mixed."""
    return mix(ids * ID_STRIDE + epochs * EPOCH_STRIDE + mix_integer(seed))


def mix(bits: Bits) -> Bits:
    """Return SplitMix64's output for the counters ``bits``: a bijection in which every bit depends on all."""
    bits = bits ^ shift_right(bits, 30)
    bits *= MULTIPLIERS[0]
    bits ^= shift_right(bits, 27)
    bits *= MULTIPLIERS[1]
    bits ^= shift_right(bits, 31)
    return bits


def shift_right(bits: Bits, distance: int) -> Bits:
    """Return the words shifted right with zeros moving in; ``>>`` on signed words moves the sign in."""
    if isinstance(bits, np.ndarray):
        return (bits.view(np.uint64) >> distance).view(np.int64)
    return (bits >> distance) & ((1 << (64 - distance)) - 1)


@lru_cache(maxsize=1024)
def mix_integer(number: int) -> int:
    """Return the signed 64 bits of SplitMix64's next output after ``number``, any Python integer."""
    return int(mix(np.array([(number + 2**63) % 2**64 - 2**63]) + ID_STRIDE)[0])
