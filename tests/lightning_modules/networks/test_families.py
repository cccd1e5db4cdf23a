"""Our own families: sizes of the sources, the equations of their blocks, their noise, their sizes of images."""

import math
from itertools import pairwise

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from timm.layers import DropPath
from torch import nn

from lightning_modules.networks import (
    create_network,
    deformable_resnet,
    lenet,
    mobilenet_v1,
    residual_cifar,
    vgg_cifar,
    wide_residual,
)

MODULES = (lenet, residual_cifar, wide_residual, vgg_cifar, mobilenet_v1, deformable_resnet)
BUILDERS = {name: builder for module in MODULES for name, builder in module.NETWORKS.items()}
ONE_OF_EACH = ("lenet5", "resnet8", "wrn_16_1", "vgg8_cifar", "mobilenet_v1", "deformable_resnet18")
RESIDUAL = ("resnet14", "wrn_16_1", "deformable_resnet18")


def build(name, num_classes=10, num_channels=3, **options):
    torch.manual_seed(0)
    return BUILDERS[name](num_classes=num_classes, num_channels=num_channels, **options)


def count(name, num_classes, without="none of them", **options):
    with torch.device("meta"):
        parameters = build(name, num_classes, **options).named_parameters()
    return sum(parameter.numel() for key, parameter in parameters if without not in key)


def convolution(num_inputs, num_outputs, side=3):
    return num_inputs * num_outputs * side**2


def shapes(network):
    return [parameter.shape for parameter in network.parameters()]


# At 100 classes. Tian et al. 2020 print no sizes: these follow from the layers of their models/{resnet,wrn,vgg}.py
# (github.com/HobbitLong/RepDistiller) by the sums of the next tests.
SIZES = {
    "resnet8": 83_892,
    "resnet14": 181_108,
    "resnet20": 278_324,
    "resnet32": 472_756,
    "resnet44": 667_188,
    "resnet56": 861_620,
    "resnet110": 1_736_564,
    "resnet8x4": 1_233_540,
    "resnet32x4": 7_433_860,
    "wrn_16_1": 180_916,
    "wrn_16_2": 703_284,
    "wrn_40_1": 569_780,
    "wrn_40_2": 2_255_156,
    "vgg8_cifar": 3_965_028,
    "vgg13_cifar": 9_462_180,
}


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_sizes_are_those_of_the_distillation_tables(name, size):
    assert count(name, 100) == size


@pytest.mark.parametrize("name", [name for name in SIZES if name.startswith("resnet")])
def test_sizes_of_residual_networks_are_the_sum_of_their_layers(name):
    depth, wide = name.removeprefix("resnet").removesuffix("x4"), name.endswith("x4")
    widths = (32, 64, 128, 256) if wide else (16, 16, 32, 64)
    total = convolution(3, widths[0]) + 2 * widths[0] + (widths[-1] + 1) * 100
    for inputs, width in pairwise(widths):
        total += convolution(inputs, width) - convolution(width, width)
        total += (int(depth) - 2) // 6 * (2 * convolution(width, width) + 2 * 2 * width)
        total += convolution(inputs, width, side=1) + 2 * width if inputs != width else 0
    assert total == SIZES[name]


@pytest.mark.parametrize("name", [name for name in SIZES if name.startswith("wrn")])
def test_sizes_of_wide_residual_networks_are_the_sum_of_their_layers(name):
    depth, multiplier = map(int, name.removeprefix("wrn_").split("_"))
    widths = (16, 16 * multiplier, 32 * multiplier, 64 * multiplier)
    total = convolution(3, 16) + 2 * widths[-1] + (widths[-1] + 1) * 100
    for inputs, width in pairwise(widths):
        total += convolution(inputs, width) - convolution(width, width) + 2 * inputs - 2 * width
        total += (depth - 4) // 6 * (2 * convolution(width, width) + 2 * 2 * width)
        total += convolution(inputs, width, side=1) if inputs != width else 0
    assert total == SIZES[name]


@pytest.mark.parametrize(
    ("name", "millions", "digits"),
    [
        ("resnet20", 0.27, 2),  # He et al. 2016, table 6: CIFAR-10, shortcuts without parameters
        ("resnet32", 0.46, 2),
        ("resnet44", 0.66, 2),
        ("resnet56", 0.85, 2),
        ("resnet110", 1.7, 1),
        ("wrn_16_1", 0.2, 1),  # Zagoruyko and Komodakis 2017, "Paying more attention to attention", table 1: CIFAR-10
        ("wrn_16_2", 0.7, 1),
        ("wrn_40_1", 0.6, 1),  # the same in "Wide residual networks", table 4
        ("wrn_40_2", 2.2, 1),
    ],
)
def test_sizes_at_ten_classes_round_to_those_printed(name, millions, digits):
    without = "shortcut" if name.startswith("resnet") else "none of them"
    assert round(count(name, 10, without=without) / 1e6, digits) == millions


@pytest.mark.parametrize(
    ("width_multiplier", "size", "millions"),
    # Howard et al. 2017, table 6, in millions; to the unit: TensorFlow-Slim's mobilenet_v1 (1.0), imgclsmob (others).
    [(1.0, 4_231_976, 4.2), (0.75, 2_585_560, 2.6), (0.5, 1_331_592, 1.3), (0.25, 470_072, 0.5)],
)
def test_sizes_of_mobilenet(width_multiplier, size, millions):
    total = count("mobilenet_v1", 1000, width_multiplier=width_multiplier)
    assert total == size
    assert round(total / 1e6, 1) == millions


def test_layers_are_those_of_the_libraries():
    with torch.device("meta"):
        assert shapes(build("mobilenet_v1", 1000)) == shapes(timm.create_model("mobilenetv1_100"))
        assert shapes(build("vgg13_cifar").features) == shapes(torchvision.models.vgg13_bn().features)
    assert count("lenet5", 10, num_channels=1) == 61_706  # 156 + 2,416 + 48,120 + 10,164 + 850


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(16, 16, 1), (16, 32, 2), (32, 64, 1)])
def test_a_residual_block_is_torchvisions(inputs, outputs, stride):
    block = residual_cifar.ResidualBlock(inputs, outputs, stride, 0.0)
    shortcut = None
    if len(block.shortcut):
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    reference = torchvision.models.resnet.BasicBlock(inputs, outputs, stride, shortcut)
    reference.load_state_dict(dict(zip(reference.state_dict(), block.state_dict().values(), strict=True)))
    features = torch.randn(2, inputs, 6, 6)
    torch.testing.assert_close(block(features), reference(features))


def test_a_wide_block_activates_before_it_convolves():
    block = wide_residual.PreactivatedBlock(4, 8, 2, 0.0).eval()
    for norm in (block.norm1, block.norm2):
        nn.init.uniform_(norm.weight), nn.init.uniform_(norm.bias)
    features = torch.randn(2, 4, 6, 6)
    activated = block.norm1(features).relu()
    hidden = block.norm2(F.conv2d(activated, block.conv1.weight, stride=2, padding=1)).relu()
    expected = F.conv2d(hidden, block.conv2.weight, padding=1) + F.conv2d(activated, block.shortcut.weight, stride=2)
    torch.testing.assert_close(block(features), expected)


def test_sides_are_those_of_the_sources():
    with torch.device("meta"):
        for name, stride in (("resnet20", 4), ("wrn_16_2", 4)):
            network = build(name)
            assert network.stages(network.stem(torch.empty(1, 3, 32, 32))).shape[-1] == 32 // stride
        assert build("vgg13_cifar").features(torch.empty(1, 3, 32, 32)).shape[-2:] == (4, 4)
        assert build("mobilenet_v1").features(torch.empty(1, 3, 224, 224)).shape == (1, 1024, 7, 7)
        assert build("mobilenet_v1", stem_stride=1).features(torch.empty(1, 3, 32, 32)).shape[-2:] == (2, 2)


def test_lenet_centres_small_images_and_pools_large_ones():
    network = build("lenet5", num_channels=1)
    images = torch.rand(2, 1, 28, 28)
    assert torch.equal(network(images), network(F.pad(images, (2, 2, 2, 2))))
    assert torch.equal(network(images[..., :9, :12]), network(F.pad(images[..., :9, :12], (10, 10, 11, 12))))
    # Its convolutions do not pad: what is the same everywhere stays so at any side of 32 and more.
    torch.testing.assert_close(network(torch.full((1, 1, 53, 40), 0.7)), network(torch.full((1, 1, 32, 32), 0.7)))


@pytest.mark.parametrize(("num_channels", "side"), [(1, 28), (3, 32)])
@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_step_back_reaches_every_parameter(name, num_channels, side):
    check_a_step(build(name, 7, num_channels), num_channels, side)


@pytest.mark.parametrize("name", sorted(BUILDERS.keys() - set(ONE_OF_EACH)))
def test_a_step_back_reaches_every_parameter_of_the_others(name):
    check_a_step(build(name, 7), num_channels=3, side=28)


def check_a_step(network, num_channels, side):
    logits = network(torch.rand(2, num_channels, side, side))
    logits.square().sum().backward()
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_drop_rate_acts_before_the_classifier_and_in_training_only(name):
    plain, noisy = build(name), build(name, drop_rate=1.0)
    classifier = noisy.fc if name.startswith("deformable") else noisy.classifier
    images = torch.rand(2, 3, 28, 28)
    assert torch.equal(noisy(images), classifier.bias.expand(2, -1))
    assert not torch.equal(plain(images), plain(2 * images))
    # The training passes above moved the running statistics of batch norm.
    noisy.load_state_dict(plain.state_dict())
    assert torch.equal(noisy.eval()(images), plain.eval()(images))


@pytest.mark.parametrize("name", RESIDUAL)
def test_drop_path_rate_grows_linearly_and_acts_in_training_only(name):
    plain, noisy = build(name), build(name, drop_path_rate=0.7)
    rates = [module.drop_prob for module in noisy.modules() if isinstance(module, DropPath)]
    rates = [0.0] * (len(rates) % 2) + rates  # timm gives its first block none
    assert rates == pytest.approx([0.7 * number / (len(rates) - 1) for number in range(len(rates))])
    for module in noisy.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)  # timm's residual branches start at zero
    images = torch.rand(4, 3, 28, 28)
    torch.manual_seed(1)
    assert not torch.allclose(noisy(images), noisy(images))
    plain.load_state_dict(noisy.state_dict())
    assert torch.equal(noisy.eval()(images), plain.eval()(images))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("resnet8x4", "stages.2.0.conv2.weight"),
        ("wrn_40_2", "stages.2.5.conv2.weight"),
        ("vgg8_cifar", "features.15.weight"),
        ("mobilenet_v1", "features.13.3.weight"),
    ],
)
def test_convolutions_start_as_he_et_al_2015(name, key):
    weight = build(name).get_parameter(key)
    fan_out = weight.shape[0] * weight.shape[2] * weight.shape[3]
    assert weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.02)


def test_other_options_out_of_range_are_errors():
    with pytest.raises(ValueError, match=r"stem_stride: got 4, expected 1 or 2; "):
        build("mobilenet_v1", stem_stride=4)
    with pytest.raises(ValueError, match=r"width_multiplier: got 1.5, expected a whole number"):
        build("wrn_16_1", width_multiplier=1.5)
    with pytest.raises(ValueError, match=r"depth: got 21, expected 6n \+ 2 .*; use 20"):
        build("resnet20", depth=21)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "mobilenet_v3_large"])
def test_statistics_of_mobilenet_v3_follow_short_trainings(name):
    network = create_network(name, num_classes=10, num_channels=1, image_size=28)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) > 30
    assert {norm.momentum for norm in norms} == {0.1}
