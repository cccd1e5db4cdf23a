"""ReLU that convolutions compute themselves (batch norms: see test_inference)."""

import copy

import pytest
import torch
from torch import nn

from lightning_modules.fusing import ConvReLU2d, fuse_relus
from lightning_modules.inference import prepare_for_inference
from lightning_modules.networks import create_network
from lightning_modules.small_maps import speed_up_small_maps


def num_fused(network):
    return sum(isinstance(module, ConvReLU2d) for module in network.modules())


def fused(network):
    network = copy.deepcopy(network).requires_grad_(False).to(memory_format=torch.channels_last)
    speed_up_small_maps(network)
    fuse_relus(network)
    return network


CONVOLUTIONS = {
    "3x3": lambda: nn.Conv2d(8, 16, 3, padding=1),
    "1x1": lambda: nn.Conv2d(8, 16, 1),
    "strided": lambda: nn.Conv2d(8, 16, (3, 5), stride=(2, 1), padding=(0, 2), bias=False),
    "dilated": lambda: nn.Conv2d(8, 16, 3, dilation=2),
    "depthwise": lambda: nn.Conv2d(8, 8, 3, padding=1, groups=8),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("side", [2, 12])
@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_outputs_have_the_same_bits(kind, side, dtype):
    if kind == "dilated" and side == 2:
        side = 5
    torch.manual_seed(0)
    network = nn.Sequential(CONVOLUTIONS[kind](), nn.Identity(), nn.ReLU(inplace=True))
    if kind == "strided" and side == 2:
        side = 3
    images = torch.randn(70, 8, side, side).contiguous(memory_format=torch.channels_last)
    lowered = copy.deepcopy(network).to(dtype).requires_grad_(False).to(memory_format=torch.channels_last)
    changed = fused(network.to(dtype))
    assert num_fused(changed) == 1
    assert [type(layer) for layer in changed[1:]] == [nn.Identity, nn.Identity]
    result = changed(images)  # float32 images are cast, as autocast casts them
    assert result.dtype == dtype
    assert (result == 0).any()
    tolerance = {"atol": 1e-6, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 2e-2, "rtol": 1e-2}
    expected = lowered(images.to(dtype))
    torch.testing.assert_close(result, expected, **tolerance)
    if side > 2:
        assert torch.equal(result, expected)


class ReadTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()

    def forward(self, images):
        maps = self.conv(images)
        return self.relu(maps) + maps


class OneReLUForTwo(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.relu = nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3), nn.ReLU()

    def forward(self, images):
        return self.relu(self.second(self.relu(self.first(images))))


class ReadByAnUntraceableParent(nn.Module):
    """Reads what its layers give one another, and asks for a size, which no recorded graph knows."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())

    def forward(self, images):
        if images.shape[1] != 8:
            raise ValueError
        return self.layers[0](images) + self.layers(images)


class WithAnOptionalArgument(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(8, 8, 3), nn.ReLU()

    def forward(self, images, mask=None):
        return self.conv(images) if mask is None else self.relu(self.conv(images))


def hooked_identity():
    identity = nn.Identity()
    identity.register_forward_hook(lambda module, inputs, output: -output)
    return nn.Sequential(nn.Conv2d(8, 8, 3), identity, nn.ReLU())


def of_two_names():
    network = nn.Sequential(nn.Conv2d(8, 8, 3), nn.ReLU())
    network.first = network[0]
    network.forward = lambda images: network[1](network[0](images))
    return network


def not_a_number():
    network = nn.Sequential(nn.Conv2d(8, 8, 3), nn.ReLU())
    nn.init.constant_(network[0].weight, torch.nan)
    return network


def hooked():
    convolution = nn.Conv2d(8, 8, 3)
    convolution.register_forward_hook(lambda module, inputs, output: -output)
    return nn.Sequential(convolution, nn.ReLU())


@pytest.mark.parametrize(
    "build",
    [
        ReadTwice,
        OneReLUForTwo,
        ReadByAnUntraceableParent,
        WithAnOptionalArgument,
        hooked_identity,
        of_two_names,
        not_a_number,
        hooked,
        lambda: nn.Sequential(nn.Conv2d(8, 8, 3), nn.LeakyReLU()),
        lambda: nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"), nn.ReLU()),
        lambda: nn.Sequential(nn.Conv2d(8, 8, 3, padding="same"), nn.ReLU()),
        lambda: nn.Sequential(nn.Conv2d(8, 8, 3), nn.MaxPool2d(2), nn.ReLU()),
    ],
)
def test_what_cannot_be_fused_stays(build):
    torch.manual_seed(0)
    network = build()
    images = torch.randn(4, 8, 12, 12)
    expected = network(images)
    changed = fused(network)
    assert num_fused(changed) == 0
    torch.testing.assert_close(changed(images), expected, equal_nan=True)


def test_without_the_operation_nothing_is_fused(monkeypatch):
    monkeypatch.setattr("lightning_modules.fusing.OPERATION", "_no_such_operation")
    network = fused(nn.Sequential(nn.Conv2d(8, 8, 3), nn.ReLU()))
    assert num_fused(network) == 0
    assert isinstance(network[1], nn.ReLU)


@pytest.mark.parametrize(("name", "expected"), [("cnn_large", 6), ("resnet8", 4), ("torchvision/resnet18", 1)])
def test_networks_made_for_inference_compute_relu_with_their_convolutions(name, expected):
    network = create_network(name, num_classes=10, num_channels=1, image_size=28)
    prepared = prepare_for_inference(network, "float32", "cpu")
    assert num_fused(prepared) == expected
    images = torch.rand(3, 1, 28, 28)
    with torch.inference_mode():
        torch.testing.assert_close(prepared(images), network.eval()(images), atol=1e-4, rtol=1e-4)
