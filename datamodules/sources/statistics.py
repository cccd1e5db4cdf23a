"""Mean and standard deviation of a source's training pixels."""

import torch

from datamodules.sources.source import Samples

MAX_SAMPLES = 10_000
READ_AT_ONCE = 256


def channel_statistics(samples: Samples, max_samples: int = MAX_SAMPLES) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation per channel, in units of ``[0, 1]``, rounded to four digits.

    At most ``max_samples`` images, evenly spread over the split, are looked at, a few hundred at a time.
    """
    step = -(-len(samples) // max_samples)
    counts: list[torch.Tensor] = []
    for indices in torch.split(torch.arange(0, len(samples), step), READ_AT_ONCE):
        images, _ = samples.read(indices)
        counts.append(torch.stack([torch.bincount(c.flatten(), minlength=256) for c in images.unbind(1)]))
    shares = torch.stack(counts).sum(0).double()
    shares /= shares.sum(1, keepdim=True)
    levels = torch.arange(256).double() / 255
    mean = shares @ levels
    std = (shares @ levels.square() - mean.square()).clamp_min(0).sqrt()
    return tuple(round(m, 4) for m in mean.tolist()), tuple(round(s, 4) for s in std.tolist())
