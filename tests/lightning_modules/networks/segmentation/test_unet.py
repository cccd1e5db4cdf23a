"""U-Net: its size, what its paddings see, any size of images, its encoders."""

import pytest
import torch
from torch import nn

from lightning_modules.networks import count_parameters, create_network
from lightning_modules.networks.segmentation.unet import UNet
from lightning_modules.networks.segmentation.upsampling import UPSAMPLING
from lightning_modules.networks.shapes import ShapesOnly


def build(**options):
    torch.manual_seed(0)
    return create_network("unet", num_classes=3, **({"width": 4, "depth": 2} | options)).body


@pytest.mark.parametrize(
    ("options", "num_classes", "parameters"),
    [
        ({}, 1, 31_037_633),  # as other implementations of 64 channels with batch norm and 2×2 kernels
        ({"width": 16, "depth": 3}, 11, 482_907),
        ({"width": 5, "depth": 3}, 11, 47_626),  # a tenth of it
        ({"width": 32, "depth": 4}, 11, 7_763_371),
    ],
)
def test_sizes(options, num_classes, parameters):
    with torch.device("meta"):
        assert count_parameters(create_network("unet", num_classes=num_classes, **options)) == parameters


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_logits_have_the_images_size_for_all_of_many(padding):
    networks = [build(depth=depth, padding=padding, width=1) for depth in (1, 4)]
    for number, height in enumerate([*range(16, 50), 65]):
        images = torch.rand(1, 3, height, 16 + (7 * number) % 37)
        for network in networks:
            logits = network(images)
            assert logits.shape == (1, 3, *images.shape[-2:])
            assert logits.isfinite().all()


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("size", [(16, 16), (17, 23), (29, 16), (31, 45)])
def test_no_pixel_is_lost(size, padding):
    """The logits at every pixel depend on that very pixel, those in the corners too."""
    network = build(padding=padding).eval()
    images = torch.rand(1, 3, *size)
    height, width = size
    for row, column in ((0, 0), (height - 1, width - 1), (height // 2, 0), (0, width - 1)):
        changed = images.clone()
        changed[..., row, column] += 5
        assert not torch.equal(network(changed)[..., row, column], network(images)[..., row, column])


def test_valid_padding_has_the_papers_sizes():
    """572 pixels give 388: figure 1."""
    with torch.device("meta"):
        network = build(width=2, depth=4, padding="valid")
        assert (network.needed(388), network.margin()) == (572, 92)
        maps = network.encode(torch.empty(1, 3, 572, 572))
    assert [features.shape[-1] for features in maps] == [568, 280, 136, 64, 28]


def test_valid_padding_sees_no_edge():
    """A part of an image gives what the whole gives there, as far as the margin leads no further."""
    network = build(padding="valid", depth=1).eval()
    images = torch.rand(1, 3, 40, 40)
    margin = network.margin()
    inner = slice(margin, 32 - margin)
    torch.testing.assert_close(network(images[..., :32, :32])[..., inner, inner], network(images)[..., inner, inner])


def test_same_padding_leaves_what_fits_as_it_is():
    network = build().eval()
    images = torch.rand(2, 3, 16, 24)
    first = network.stages[0](images)
    second = network.stages[1](nn.functional.max_pool2d(first, 2))
    third = network.stages[2](nn.functional.max_pool2d(second, 2))
    up = network.decoder[0](torch.cat((second, network.upsamplings[0](third)), dim=1))
    up = network.decoder[1](torch.cat((first, network.upsamplings[1](up)), dim=1))
    torch.testing.assert_close(network(images), network.classifier(up))


@pytest.mark.parametrize(("upsampling", "padding"), [*((name, "same") for name in UPSAMPLING), ("max_unpool", "valid")])
def test_every_upsampling_learns(upsampling, padding):
    network = build(upsampling=upsampling, padding=padding)
    network(torch.rand(2, 3, 17, 22)).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())


def test_drop_rate_acts_before_the_classifier_and_in_training_only():
    network = build(drop_rate=0.999999)
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(network(images), network.classifier.bias.view(1, 3, 1, 1).expand(2, -1, 16, 16))
    assert network.eval()(images).std() > 0


@pytest.mark.parametrize(
    ("encoder", "strides"),
    [
        ("resnet10t", [1, 2, 4, 8, 16, 32]),  # timm's, without a map of the images' side
        ("convnext_atto", [1, 2, 4, 8, 16, 32]),  # without one of half of it
        ("alexnet", [1, 2, 4, 8, 17, 37]),  # whose maps are smaller than such strides give
        ("torchvision/vgg11", [1, 2, 4, 8, 16, 32]),
        ("cnn_large", [1, 2, 4]),
    ],
)
def test_maps_of_encoders(encoder, strides):
    with torch.device("meta"), ShapesOnly():
        network = build(encoder=encoder, width=4, depth=None)
        maps = network.encode(torch.empty(2, 3, 256, 256))
        assert [round(256 / features.shape[-1]) for features in maps] == strides
        assert network(torch.empty(2, 3, 97, 101)).shape == (2, 3, 97, 101)


def test_depth_and_rates_with_an_encoder():
    network = build(encoder="resnet10t", depth=3, drop_path_rate=0.2, drop_rate=0.3)
    assert network.stride == 8
    assert not [name for name, _ in network.named_parameters() if "layer3" in name or "fc" in name]
    assert network.dropout.p == 0.3
    assert max(getattr(module, "drop_prob", 0) or 0 for module in network.modules()) > 0


@pytest.mark.parametrize("upsampling", ["transposed_conv", "max_unpool"])
def test_an_encoder_learns_with_odd_sizes(upsampling):
    network = build(encoder="mobilenetv3_small_050", depth=None, upsampling=upsampling)
    logits = network(torch.rand(2, 3, 33, 50))
    logits.square().mean().backward()
    assert logits.shape == (2, 3, 33, 50)
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, r"width: got 0, expected a whole number of at least 1"),
        ({"depth": 1.5}, r"depth: got 1.5, expected a whole number of at least 1"),
        ({"padding": "full"}, r"padding: got 'full', expected one of same, valid"),
        ({"encoder": "cnn_small", "depth": None, "padding": "valid"}, r"padding: got 'valid' with an encoder"),
        ({"encoder": "convnext_atto", "depth": 1}, r"depth: got 1 for encoder 'convnext_atto', expected 2 to 5"),
        ({"encoder": "cnn_small", "depth": 2}, r"depth: got 2 for encoder 'cnn_small', expected 1 to 1"),
        ({"upsampling": "unpool"}, r"upsampling: got 'unpool', expected one of .*; did you mean max_unpool"),
        ({"upsampling_kernel": 5}, r"upsampling_kernel: got 5 with a stride of 2.*checkerboard"),
        ({"pretrained": True}, r"pretrained: got True for 'unet', expected False"),
        ({"drop_path_rate": 0.1}, r"drop_path_rate: got 0.1 for 'unet', expected none"),
        ({"foo": 1}, r"foo: got 1 for 'unet', which has no such option"),
        ({"encoder": "resnet8", "foo": 1}, r"foo: got 1 for 'unet', which has no such option"),
        ({"encoder": "lenet5"}, r"encoder: got LeNet5, expected a convolutional network"),
    ],
)
def test_bad_options_are_clear_errors(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_an_encoder_of_one_map_is_refused(monkeypatch):
    from lightning_modules.networks.own_networks import NETWORKS
    from lightning_modules.networks.plain_cnn import PlainCNN

    monkeypatch.setitem(NETWORKS, "flat", lambda **sizes: PlainCNN(((4,),), **sizes))
    with pytest.raises(ValueError, match=r"encoder: got 'flat', expected a network that halves its maps"):
        build(encoder="flat", depth=None)


def test_channels_last_gives_the_same():
    network = UNet(3, 3, width=4, depth=2).eval()
    images = torch.rand(2, 3, 18, 20)
    expected = network(images)
    network.to(memory_format=torch.channels_last)
    torch.testing.assert_close(network(images.contiguous(memory_format=torch.channels_last)), expected)
