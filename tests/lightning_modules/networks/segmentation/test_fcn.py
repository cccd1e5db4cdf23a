"""Fully convolutional networks: what they add up, at which size, on which encoders."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_modules.networks import create_network
from lightning_modules.networks.segmentation.fcn import interpolating
from lightning_modules.networks.segmentation.upsampling import UPSAMPLING
from lightning_modules.networks.shapes import ShapesOnly


def build(name, encoder="resnet8", **options):
    torch.manual_seed(0)
    return create_network(name, num_classes=5, encoder=encoder, **options).body


@pytest.mark.parametrize(("name", "skips"), [("fcn32s", 0), ("fcn16s", 1), ("fcn8s", 2)])
def test_scores_of_finer_maps_start_at_zero(name, skips):
    """So every one of them starts by interpolating the classifier's scores."""
    network = build(name).eval()
    images = torch.randn(2, 3, 16, 24)
    *maps, scores = network.encoder(images)
    assert scores.shape == (2, 5, 4, 6)
    assert [tuple(features.shape[-2:]) for features in maps] == [(16, 24), (8, 12)][2 - skips :]
    for _ in range(skips):
        scores = F.interpolate(scores, scale_factor=2, mode="bilinear")
    expected = F.interpolate(scores, (16, 24), mode="bilinear")
    inner = (..., slice(5, -5), slice(5, -5))  # beyond the edge a transposed convolution takes zeros
    torch.testing.assert_close(network(images)[inner], expected[inner])


def test_the_sum_is_that_of_the_paper():
    network = build("fcn8s", upsampling="nearest_unpool").eval()
    for score in network.scores:
        nn.init.normal_(score.weight)
    images = torch.randn(2, 3, 16, 16)
    finest, finer, scores = network.encoder(images)
    scores = F.interpolate(scores, scale_factor=2) + network.scores[1](finer)
    scores = F.interpolate(scores, scale_factor=2) + network.scores[0](finest)
    torch.testing.assert_close(network(images), scores)


def test_strides_are_those_of_the_names():
    with torch.device("meta"):
        for name, strides in (("fcn32s", [32]), ("fcn16s", [16, 32]), ("fcn8s", [8, 16, 32])):
            maps = build(name, "resnet10t").encoder(torch.empty(2, 3, 64, 64))
            assert [64 // features.shape[-1] for features in maps] == strides


@pytest.mark.parametrize(
    ("encoder", "side"),
    [("vgg11", 64), ("torchvision/vgg11", 64), ("alexnet", 64), ("googlenet", 50)],
)
def test_the_encoders_of_the_paper_take_any_size(encoder, side):
    with torch.device("meta"), ShapesOnly():
        network = build("fcn8s", encoder)
        assert network(torch.empty(2, 3, side, side + 7)).shape == (2, 5, side, side + 7)
        *_, scores = network.encoder(torch.empty(2, 3, 256, 256))
    assert scores.shape[-1] == 8
    assert not [layer for layer in network.modules() if isinstance(layer, nn.Linear)]


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (1, 5), (40, 23)])
def test_logits_have_the_images_size(size):
    assert build("fcn8s")(torch.rand(2, 3, *size)).shape == (2, 5, *size)


@pytest.mark.parametrize("upsampling", UPSAMPLING)
def test_every_upsampling_learns(upsampling):
    network = build("fcn8s", upsampling=upsampling)
    loss = network(torch.rand(2, 3, 20, 20)).square().mean()
    loss.backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize("scale", [2, 4])
def test_a_bed_of_nails_starts_as_interpolation(scale):
    scores = torch.rand(1, 3, 4, 4)
    nails = torch.zeros(1, 3, 4 * scale, 4 * scale)
    nails[..., ::scale, ::scale] = scores
    filled = interpolating(3, scale)(nails)
    assert torch.allclose(filled[..., ::scale, ::scale], scores)
    middle = (scores[..., 1:, :] + scores[..., :-1, :]) / 2
    torch.testing.assert_close(filled[..., scale // 2 : -scale : scale, ::scale], middle)


def test_the_rates_are_the_encoders():
    network = create_network("fcn8s", num_classes=5, encoder="resnet10t", drop_rate=0.3, drop_path_rate=0.2)
    assert [module.p for module in network.modules() if isinstance(module, nn.Dropout)] == [0.3]
    assert max(getattr(module, "drop_prob", 0) or 0 for module in network.modules()) == pytest.approx(0.2)
    with pytest.raises(ValueError, match=r"drop_rate: got 0.3 for 'fcn8s', expected none"):
        create_network("fcn8s", num_classes=5, encoder="torchvision/resnet18", drop_rate=0.3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fcn8s", {"encoder": "cnn_small"}, r"encoder: got 'cnn_small', which has maps of stride 1, 2, expected 3 or"),
        (
            "fcn8s",
            {"encoder": "vit_tiny_patch16_224", "depth": 1},
            r"encoder: got VisionTransformer, expected a convolutional net",
        ),
        ("fcn8s", {"encoder": "resnet8O"}, r"encoder: got 'resnet8O', .*did you mean resnet8"),
        ("fcn8s", {"encoder": "unet"}, r"encoder: got 'unet', expected a classification network"),
        ("fcn8s", {"upsampling": "nearest"}, r"upsampling: got 'nearest', expected one of transposed_conv, "),
        ("fcn8s", {"upsampling_kernel": 3, "encoder": "resnet8"}, r"upsampling_kernel: got 3 with a stride of 2"),
        ("fcn32s", {"upsampling": "max_unpool"}, r"upsampling: got 'max_unpool' for 'fcn32s', which only interpolates"),
        ("fcn32s", {"upsampling_kernel": 4}, r"upsampling_kernel: got 4 for 'fcn32s', which only interpolates"),
        ("fcn8s", {"num_skips": 1}, r"num_skips: got 1 for 'fcn8s', which"),
        ("fcn8s", {"width": 3, "encoder": "resnet8"}, r"width: got 3 for 'fcn8s', which has no such option"),
    ],
)
def test_bad_options_are_clear_errors(name, options, message):
    with pytest.raises(ValueError, match=message):
        create_network(name, num_classes=5, **options)
