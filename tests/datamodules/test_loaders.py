"""Which samples make which batch."""

from collections import Counter

import numpy as np
import pytest
import torch

from datamodules import loaders
from datamodules.loaders import OrderedSampler, StreamSampler, ordered_loader, stream_loader


def as_process(monkeypatch, rank, num_processes):
    monkeypatch.setattr(loaders, "process_rank", lambda: (rank, num_processes))


def indices(sampler):
    return [request.indices.tolist() for request in sampler]


def test_a_stream_passes_over_every_sample_equally_often():
    sampler = StreamSampler(10, batch_size=4, num_batches=5, seed=0)
    counts = Counter(index for batch in indices(sampler) for index in batch)
    assert counts == dict.fromkeys(range(10), 2)
    passes = np.concatenate([request.epochs for request in sampler])
    assert passes.tolist() == [0] * 10 + [1] * 10
    assert all(len(batch) == 4 for batch in indices(sampler))


def test_an_epoch_is_a_piece_of_the_stream():
    whole = indices(StreamSampler(10, 4, num_batches=6, seed=3))
    sampler = StreamSampler(10, 4, num_batches=2, seed=3)
    pieces = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        pieces += indices(sampler)
    assert pieces == whole
    assert indices(StreamSampler(10, 4, num_batches=2, seed=3, epoch=2)) == whole[4:]
    assert indices(StreamSampler(10, 4, num_batches=6, seed=4)) != whole


def test_a_batch_larger_than_the_set_is_still_full():
    (batch,) = indices(StreamSampler(3, batch_size=7, num_batches=1, seed=0))
    assert sorted(batch[:3]) == sorted(batch[3:6]) == [0, 1, 2]


def test_processes_share_the_same_batches(monkeypatch):
    whole = indices(StreamSampler(10, 4, 5, seed=0))
    shares = []
    for rank in range(2):
        as_process(monkeypatch, rank, 2)
        shares.append(indices(StreamSampler(10, 4, 5, seed=0)))
    assert [a + b for a, b in zip(*shares, strict=True)] == whole


def test_a_batch_that_processes_cannot_share_is_refused(monkeypatch):
    as_process(monkeypatch, 0, 2)
    with pytest.raises(ValueError, match=r"data\.batch_size: a batch of 5 .* 2 processes; expected a multiple of 2"):
        StreamSampler(10, 5, 1, seed=0)


@pytest.mark.parametrize("num_processes", [1, 2, 3, 5])
@pytest.mark.parametrize(("num_samples", "batch_size"), [(13, 4), (13, 256), (5, 4), (16, 4)])
def test_evaluation_has_every_sample_once(monkeypatch, num_processes, num_samples, batch_size):
    seen = []
    for rank in range(num_processes):
        as_process(monkeypatch, rank, num_processes)
        sampler = OrderedSampler(num_samples, batch_size)
        batches = indices(sampler)
        assert len(batches) == len(sampler) >= 1
        assert all(0 < len(batch) <= batch_size for batch in batches)
        seen += [index for batch in batches for index in batch]
    assert sorted(seen) == list(range(num_samples))


def test_more_processes_than_samples_are_refused(monkeypatch):
    as_process(monkeypatch, 0, 4)
    with pytest.raises(ValueError, match=r"trainer\.devices: 4 processes cannot share 3 samples"):
        OrderedSampler(3, 2)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_loaders_give_whole_batches(source, num_workers):
    batches = list(stream_loader(source.train, batch_size=16, num_batches=4, seed=0, num_workers=num_workers))
    assert [batch.pixels.shape for batch in batches] == [(16, 1, 8, 8)] * 4
    assert batches[0].pixels.dtype == torch.uint8
    for batch in batches:
        position = batch.ids - 1000
        assert torch.equal(batch.targets, source.train.targets[position])
        assert torch.equal(batch.pixels, source.train.images(position))
    ids = torch.cat([b.ids for b in ordered_loader(source.test, batch_size=4, num_workers=num_workers)])
    assert torch.equal(ids, source.test.ids)
