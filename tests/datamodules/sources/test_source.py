import pytest
import torch

from datamodules.sources.paths import PathList
from datamodules.sources.source import PixelArray, Samples, Source
from datamodules.sources.statistics import channel_statistics


class EveryOther:
    """A reader that cannot read odd rows."""

    num_skipped = 3
    makes_choices = False

    def __call__(self, rows, keys):
        kept = (rows % 2 == 0).nonzero().squeeze(1)
        return rows[kept].to(torch.uint8).view(-1, 1, 1, 1), kept


def samples(reader, count=6, paths=None):
    return Samples(reader, torch.arange(count), torch.arange(count) + 100, torch.arange(count) % 2, paths)


def test_read_says_which_images_remain():
    images, kept = samples(EveryOther()).read(torch.tensor([4, 3, 2]))
    assert images.flatten().tolist() == [4, 2]
    assert kept.tolist() == [0, 2]


def test_images_refuses_to_leave_one_out():
    with pytest.raises(ValueError, match=r"--data.on_bad_image skip: 1 of 3 images cannot be read.*Samples.read"):
        samples(EveryOther()).images(torch.tensor([4, 3, 2]))


def test_selecting_twice_and_hiding_targets():
    paths = PathList.of(f"{k}.jpg" for k in range(6))
    chosen = samples(PixelArray(torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1)), paths=paths)
    chosen = chosen.select(torch.tensor([5, 3, 1])).select(torch.tensor([2, 0])).without_targets()
    assert chosen.ids.tolist() == [101, 105]
    assert list(chosen.paths) == ["1.jpg", "5.jpg"]
    assert chosen.targets.tolist() == [-1, -1]
    assert chosen.images(torch.arange(2)).flatten().tolist() == [1, 5]


def test_skipped_are_counted_once_for_a_shared_reader():
    reader = EveryOther()
    source = Source("x", ("a",), "", samples(reader), samples(reader), (0.0,), (1.0,), unlabeled=samples(EveryOther()))
    assert source.num_skipped == 6


def test_statistics_of_known_pixels():
    pixels = torch.tensor([0, 255, 255, 255], dtype=torch.uint8).view(4, 1, 1, 1).repeat(1, 2, 3, 3)
    pixels[:, 1] = 51
    mean, std = channel_statistics(samples(PixelArray(pixels), count=4))
    assert mean == (0.75, 0.2)
    assert std == (0.433, 0.0)


def test_statistics_look_at_few_images_evenly_spread():
    pixels = torch.tensor([0, 255] * 50, dtype=torch.uint8).view(100, 1, 1, 1)
    assert channel_statistics(samples(PixelArray(pixels), count=100), max_samples=50)[0] == (0.0,)
    assert channel_statistics(samples(PixelArray(pixels), count=100), max_samples=99)[0] == (0.0,)
    assert channel_statistics(samples(PixelArray(pixels), count=100), max_samples=100)[0] == (0.5,)
