"""Small maps are convolved as all others, only in another way."""

import pytest
import torch
from torch import nn

from lightning_modules.small_maps import SmallMapConv2d, speed_up_small_maps


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(3, 5, 3, padding=1),
        nn.Conv2d(3, 5, 3, padding=1, stride=2, bias=False),
        nn.Conv2d(3, 5, (1, 3), padding=(0, 2), stride=(1, 2)),
        nn.Conv2d(3, 5, (2, 1)),
        nn.Conv2d(3, 5, 3, padding=2, stride=3),
        nn.Conv2d(3, 6, 3, padding=1, groups=3),
        nn.Conv2d(3, 5, 3, padding=2, dilation=2),
        nn.Conv2d(3, 5, 3, padding="same"),
    ],
)
def test_small_maps_are_convolved_alike(convolution):
    plain = nn.Sequential(convolution)
    for shape in ((2, 3, 2, 2), (2, 3, 2, 1), (2, 3, 6, 5)):
        images = torch.rand(shape)
        expected = plain(images)
        speed_up_small_maps(plain)
        torch.testing.assert_close(plain(images), expected)
        plain[0].__class__ = nn.Conv2d


@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"stride": 2, "bias": False}])
def test_maps_of_one_pixel_are_convolved_alike(options):
    network = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1, **options))
    images = torch.rand(4, 3, 1, 1)
    expected = network(images)
    speed_up_small_maps(network)
    torch.testing.assert_close(network(images), expected)


def test_only_plain_convolutions_with_patches_change():
    network = nn.Sequential(
        nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 3, groups=3), nn.Conv2d(3, 3, 3, dilation=2)
    )
    speed_up_small_maps(network)
    assert [isinstance(layer, SmallMapConv2d) for layer in network] == [True, False, False, False]
