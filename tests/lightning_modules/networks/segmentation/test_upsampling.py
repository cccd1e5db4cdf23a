"""Upsampling by name: what becomes of a 2×2 map."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_modules.networks.segmentation.upsampling import UPSAMPLING, create_upsampling

SMALL = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
FINER = torch.tensor([[[[0.0, 5.0, 1.0, 1.0], [2.0, 3.0, 7.0, 0.0], [0.0, 1.0, 2.0, 3.0], [9.0, 8.0, 4.0, 5.0]]]])
COPIED = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
NAILS = [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]]
REMEMBERED = [[0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 0], [3, 0, 0, 4]]
BILINEAR = [[1, 1.25, 1.75, 2], [1.5, 1.75, 2.25, 2.5], [2.5, 2.75, 3.25, 3.5], [3, 3.25, 3.75, 4]]
WITH_ZEROS_AROUND = [
    [0.5625, 0.9375, 1.3125, 1.125],
    [1.125, 1.75, 2.25, 1.875],
    [1.875, 2.75, 3.25, 2.625],
    [1.6875, 2.4375, 2.8125, 2.25],
]


@pytest.mark.parametrize(
    ("name", "expected"), [("nearest_unpool", COPIED), ("bed_of_nails", NAILS), ("max_unpool", REMEMBERED)]
)
def test_unpooling(name, expected):
    layer = create_upsampling(name, 1, 1)
    assert torch.equal(layer(SMALL, FINER)[0, 0], torch.tensor(expected, dtype=torch.float32))
    assert not list(layer.parameters())


def test_a_transposed_convolution_starts_as_bilinear_interpolation():
    enlarged = create_upsampling("transposed_conv", 1, 1)(SMALL)
    torch.testing.assert_close(enlarged[0, 0], torch.tensor(WITH_ZEROS_AROUND))
    many = torch.rand(2, 3, 6, 5)
    expected = F.interpolate(many, scale_factor=4, mode="bilinear")
    torch.testing.assert_close(
        create_upsampling("transposed_conv", 3, 3, 4)(many)[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2]
    )


@pytest.mark.parametrize(("name", "expected"), [("nearest_conv", COPIED), ("bilinear_conv", BILINEAR)])
def test_resized_convolutions(name, expected):
    layer = create_upsampling(name, 1, 1)
    nn.init.dirac_(layer.convolution.weight)
    nn.init.zeros_(layer.convolution.bias)
    torch.testing.assert_close(layer(SMALL)[0, 0], torch.tensor(expected, dtype=torch.float32))
    cross = torch.tensor([[[[0.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 0.0]]]])
    layer.convolution.weight.data.copy_(cross)
    padded = F.pad(torch.tensor(expected, dtype=torch.float32), (1, 1, 1, 1))
    sums = padded[1:-1, 1:-1] + padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    torch.testing.assert_close(layer(SMALL)[0, 0], sums)


@pytest.mark.parametrize(("scale", "kernel"), [(2, 2), (2, 6), (3, 3), (3, 6), (3, 9), (8, None)])
def test_a_transposed_convolution_keeps_what_is_constant(scale, kernel):
    enlarged = create_upsampling("transposed_conv", 2, 2, scale, kernel)(torch.ones(1, 2, 7, 7))
    assert enlarged.shape[-2:] == (7 * scale, 7 * scale)
    inner = slice(3 * scale, -3 * scale)
    torch.testing.assert_close(enlarged[..., inner, inner], torch.ones(1, 2, scale, scale))


def test_max_unpooling_undoes_torchs_max_pooling():
    finer = torch.randn(2, 3, 8, 6)
    pooled, positions = F.max_pool2d(finer, 2, return_indices=True)
    unpooled = create_upsampling("max_unpool", 3, 3)(pooled, finer)
    assert torch.equal(unpooled, F.max_unpool2d(pooled, positions, 2))
    assert torch.equal(unpooled, finer * (unpooled != 0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", UPSAMPLING)
def test_any_channels_and_scale_with_gradients(name, dtype):
    layer = create_upsampling(name, 4, 6, 3)
    features = torch.randn(2, 4, 5, 7, requires_grad=True).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
        enlarged = layer(features, torch.randn(2, 6, 15, 21))
    enlarged.float().square().sum().backward()
    assert enlarged.shape == (2, 6, 15, 21)
    assert all(parameter.grad is not None for parameter in layer.parameters())


def test_a_kernel_that_its_stride_does_not_divide_is_refused():
    with pytest.raises(
        ValueError, match=r"upsampling_kernel: got 3 with a stride of 2, expected a multiple.*checkerboard; use 4"
    ):
        create_upsampling("transposed_conv", 1, 1, 2, 3)
    with pytest.raises(ValueError, match=r"upsampling_kernel: got 4 for 'nearest_conv', expected it only for"):
        create_upsampling("nearest_conv", 1, 1, 2, 4)
    with pytest.raises(ValueError, match=r"upsampling_kernel: got 0 with a stride of 2"):
        create_upsampling("transposed_conv", 1, 1, 2, 0)


def test_an_unknown_name_offers_the_nearest():
    with pytest.raises(ValueError, match=r"upsampling: got 'max_unpol', expected one of .*; did you mean max_unpool\?"):
        create_upsampling("max_unpol", 1, 1)
    with pytest.raises(ValueError, match=r"scale: got 1, expected 2 or more"):
        create_upsampling("nearest_conv", 1, 1, 1)
