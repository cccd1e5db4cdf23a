"""Loaders: which samples make which batch, on which process, in which epoch.

A loader fetches whole batches: its sampler yields a batch's rows at once (``batch_size=None``, which turns
PyTorch's own batching off). The samplers split the work over processes themselves; they are
``DistributedSampler``s so that Lightning knows that and puts none of its own in their place.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from datamodules.augmentation.keys import fold_in, sample_keys
from datamodules.batch import PixelBatch
from datamodules.sources.source import Samples

Indices = npt.NDArray[np.int64]
READING = 1
"""Stream of random choices made while images are read, apart from those of the augmentation."""


class Request(NamedTuple):
    """The samples of one batch: their indices ``(n,)``, and how often each was seen before (``None``: evaluation)."""

    indices: Indices
    epochs: Indices | None


class SampleDataset(Dataset[PixelBatch]):
    """Reads the batch that a request names."""

    def __init__(self, samples: Samples, seed: int = 0) -> None:
        self.samples = samples
        self.seed = seed

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, request: Request) -> PixelBatch:
        epochs = None if request.epochs is None else torch.from_numpy(request.epochs)
        return self.read(torch.from_numpy(request.indices), epochs)

    def read(self, indices: Tensor, epochs: Tensor | None) -> PixelBatch:
        """Return the samples at ``indices (n,)``, seen ``epochs (n,)`` times before; ``None`` in evaluation.

        Samples whose files cannot be read and are skipped drop out; nothing takes their place.
        """
        ids = self.samples.ids.index_select(0, indices)
        keys = None
        if epochs is not None and self.samples.reader.makes_choices:
            keys = fold_in(sample_keys(self.seed, epochs, ids), READING)
        pixels, kept = self.samples.read(indices, keys)
        if len(kept) < len(indices):
            indices, ids, epochs = indices[kept], ids[kept], None if epochs is None else epochs[kept]
        return PixelBatch(pixels, self.samples.read_targets(indices), ids, epochs)


class StreamSampler(DistributedSampler[Request]):
    """An endless stream of random permutations, cut into batches of one size.

    The stream is a pure function of the seed. Epoch ``e`` is its batches ``e * num_batches`` to
    ``(e + 1) * num_batches - 1``, so a resumed run goes on where it was, and every batch is full: one that
    reaches the end of a permutation takes the rest from the next. Process ``r`` of ``W`` takes the ``r``-th of
    ``W`` equal slices of every batch.

    Raises:
        ValueError: the batch cannot be split into equal slices.
    """

    def __init__(self, num_samples: int, batch_size: int, num_batches: int, seed: int, epoch: int = 0) -> None:
        process, num_processes = process_rank()
        super().__init__(range(num_samples), num_processes, process, seed=seed)  # type: ignore[arg-type]
        if batch_size % num_processes:
            raise ValueError(
                f"data.batch_size: a batch of {batch_size} samples cannot be split over {num_processes} processes; "
                f"expected a multiple of {num_processes}, because batch sizes are those of all processes together"
            )
        self.length = num_samples
        self.batch_size = batch_size
        self.num_batches = num_batches
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[Request]:
        slice_size = self.batch_size // self.num_replicas
        permutations: dict[int, Indices] = {}
        for batch in range(self.epoch * self.num_batches, (self.epoch + 1) * self.num_batches):
            start = batch * self.batch_size + self.rank * slice_size
            needed = range(start // self.length, (start + slice_size - 1) // self.length + 1)
            permutations = {p: permutations[p] if p in permutations else self._permutation(p) for p in needed}
            firsts = [start - p * self.length for p in needed]
            parts = [permutations[p][max(f, 0) : f + slice_size] for p, f in zip(needed, firsts, strict=True)]
            passes = [np.full(len(part), p) for p, part in zip(needed, parts, strict=True)]
            yield Request(np.concatenate(parts), np.concatenate(passes))

    def _permutation(self, number: int) -> Indices:
        key = sample_keys(self.seed, torch.tensor([number]), torch.tensor([-1]))
        generator = torch.Generator().manual_seed(int(key))
        return torch.randperm(self.length, generator=generator).numpy()


class OrderedSampler(DistributedSampler[Request]):
    """Every sample once, in order: chunk ``i`` goes to process ``i mod W``; nothing is padded.

    Chunks are the same whatever the number of processes, unless there are fewer chunks than processes.

    Raises:
        ValueError: there are more processes than samples.
    """

    def __init__(self, num_samples: int, batch_size: int) -> None:
        process, num_processes = process_rank()
        super().__init__(range(num_samples), num_processes, process)  # type: ignore[arg-type]
        if num_samples < num_processes:
            raise ValueError(f"trainer.devices: {num_processes} processes cannot share {num_samples} samples")
        if -(-num_samples // batch_size) >= num_processes:
            chunks = np.split(np.arange(num_samples), range(batch_size, num_samples, batch_size))
        else:
            chunks = np.array_split(np.arange(num_samples), num_processes)
        self.chunks = chunks[self.rank :: self.num_replicas]

    def __len__(self) -> int:
        return len(self.chunks)

    def __iter__(self) -> Iterator[Request]:
        for chunk in self.chunks:
            yield Request(chunk, None)


class BatchLoader(DataLoader[PixelBatch]):
    """A ``DataLoader`` of whole batches; in the process itself it reads them without PyTorch's machinery for workers.

    That machinery costs as much as reading and augmenting a batch of small images.
    """

    def __iter__(self) -> Iterator[PixelBatch]:  # type: ignore[override]
        """Return an iterator over the batches of the sampler's epoch."""
        if self.num_workers or self.pin_memory:
            return super().__iter__()
        return map(self.dataset.__getitem__, self.sampler)


def stream_loader(
    samples: Samples, *, batch_size: int, num_batches: int, seed: int, epoch: int = 0, num_workers: int = 0
) -> DataLoader[PixelBatch]:
    """Return the loader of a training stream: ``num_batches`` batches an epoch, ``batch_size`` over all processes."""
    sampler = StreamSampler(len(samples), batch_size, num_batches, seed, epoch)
    return create_loader(SampleDataset(samples, seed), sampler, num_workers)


def ordered_loader(samples: Samples, *, batch_size: int, num_workers: int = 0) -> DataLoader[PixelBatch]:
    """Return the loader of evaluation and prediction: every sample once, ``batch_size`` a process."""
    return create_loader(SampleDataset(samples), OrderedSampler(len(samples), batch_size), num_workers)


def create_loader(
    dataset: SampleDataset, sampler: DistributedSampler[Request], num_workers: int
) -> DataLoader[PixelBatch]:
    """Return a loader of whole batches, in pinned memory where there is a GPU to copy them to."""
    return BatchLoader(
        dataset,
        batch_size=None,
        sampler=sampler,
        collate_fn=as_it_is,  # type: ignore[arg-type]
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def as_it_is(batch: PixelBatch) -> PixelBatch:
    """Return the batch: it comes whole, there is nothing to collate."""
    return batch


def process_rank() -> tuple[int, int]:
    """Return this process's rank and the number of processes."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
