"""Deformable residual networks: they begin as the plain ones, and read where their offsets say."""

from contextlib import nullcontext

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models import group_parameters
from torch import nn
from torchvision.ops import DeformConv2d

from lightning_modules.networks import create_network, timm_networks
from lightning_modules.networks.deformable_resnet import NETWORKS, DeformableConvolution, with_deformable_keys


def build(plain, **options):
    torch.manual_seed(0)
    return NETWORKS[f"deformable_{plain}"](num_classes=5, num_channels=3, **options)


def awake(network):
    """Give every batch norm a weight: timm's residual branches start at zero, and would hide their convolutions."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
    return network


@pytest.mark.parametrize(
    ("plain", "deformable_stages", "modulated"),
    [("resnet18", 2, True), ("resnet18", 3, False), ("resnet50", 1, False)],
)
def test_it_begins_as_the_plain_network(plain, deformable_stages, modulated):
    deformable = awake(build(plain, deformable_stages=deformable_stages, modulated=modulated)).eval()
    torch.manual_seed(0)
    reference = awake(timm.create_model(plain, num_classes=5)).eval()
    images = torch.rand(2, 3, 48, 48)
    torch.testing.assert_close(deformable(images), reference(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("plain", "deformable_stages", "replaced"),
    # Two 3x3 convolutions in each of two blocks a stage; one in each of 4, 6 and 3 blocks.
    [("resnet18", 1, 4), ("resnet18", 2, 8), ("resnet18", 3, 12), ("resnet50", 2, 9), ("resnet50", 3, 13)],
)
def test_the_spatial_convolutions_of_the_last_stages_are_replaced(plain, deformable_stages, replaced):
    with torch.device("meta"):
        network = build(plain, deformable_stages=deformable_stages)
    names = [name for name, module in network.named_modules() if isinstance(module, DeformConv2d)]
    assert len(names) == replaced
    assert {name.split(".")[0] for name in names} == {f"layer{4 - number}" for number in range(deformable_stages)}


@pytest.mark.parametrize(("modulated", "outputs"), [(False, 18), (True, 27)])
def test_offsets_add_a_small_convolution_each(modulated, outputs):
    with torch.device("meta"):
        network, reference = build("resnet18", modulated=modulated), timm.create_model("resnet18", num_classes=5)
    added = sum(p.numel() for p in network.parameters()) - sum(p.numel() for p in reference.parameters())
    assert added == sum((9 * width + 1) * outputs for width in (128, 256, 256, 256, 256, 512, 512, 512))


def test_an_offset_moves_what_is_read():
    plain = nn.Conv2d(2, 3, 3, padding=1, bias=False)
    moved = DeformableConvolution(plain, modulated=False)
    images = torch.rand(1, 2, 8, 8)
    assert torch.equal(moved.convolution.weight, plain.weight)
    with torch.no_grad():
        moved.predictor.bias.view(9, 2)[:] = torch.tensor([2.0, -1.0])  # rows down, columns to the left
    expected = plain(images.roll((-2, 1), dims=(2, 3)))
    torch.testing.assert_close(moved(images)[..., 1:5, 2:7], expected[..., 1:5, 2:7])


def test_modulation_weights_what_is_read():
    plain = nn.Conv2d(2, 3, 3, padding=1, stride=2)
    weighted = DeformableConvolution(plain, modulated=True)
    images = torch.rand(1, 2, 8, 8)
    torch.testing.assert_close(weighted(images), plain(images))
    with torch.no_grad():
        weighted.predictor.bias[18:] = torch.tensor(0.25 / 0.75).log()  # 2 sigmoid(m) = 1/2
    expected = F.conv2d(images, plain.weight / 2, plain.bias, stride=2, padding=1)
    torch.testing.assert_close(weighted(images), expected)


@pytest.mark.parametrize("modulated", [False, True])
def test_offsets_learn(modulated):
    network = awake(build("resnet18", modulated=modulated))
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    images, targets = torch.rand(4, 3, 48, 48), torch.arange(4)
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    for module in network.modules():
        if isinstance(module, DeformableConvolution):
            assert (module.predictor.bias.abs() > 0).all()


@pytest.mark.parametrize("modulated", [False, True])
def test_bfloat16_samples_in_float32(modulated):
    network = awake(build("resnet18", modulated=modulated)).eval()
    images = torch.rand(2, 3, 64, 64)
    expected = network(images)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(images)
    logits.float().square().sum().backward()
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits.float(), expected, rtol=0.05, atol=0.05 * expected.abs().max().item())
    assert network.layer4[0].conv1.predictor.weight.grad.abs().sum() > 0
    assert network.bfloat16()(images.bfloat16()).isfinite().all()


def test_float64_stays_float64():
    plain = nn.Conv2d(2, 3, 3, padding=1).double()
    images = torch.rand(1, 2, 8, 8, dtype=torch.float64)
    deformable = DeformableConvolution(plain, modulated=True).double()
    torch.testing.assert_close(deformable(images), plain(images), rtol=1e-12, atol=1e-12)


def test_the_weights_of_the_plain_network_load():
    plain = awake(timm.create_model("resnet18", num_classes=5)).eval()
    deformable = build("resnet18", modulated=True).eval()
    for parameter in deformable.parameters():
        nn.init.ones_(parameter)  # what learned offsets would leave behind
    deformable.load_state_dict(plain.state_dict())
    images = torch.rand(2, 3, 48, 48)
    torch.testing.assert_close(deformable(images), plain(images), rtol=1e-5, atol=1e-5)
    renamed = with_deformable_keys(deformable, plain.state_dict())
    assert renamed.keys() == deformable.state_dict().keys()
    assert torch.equal(renamed["layer4.0.conv2.convolution.weight"], plain.layer4[0].conv2.weight)


def test_its_own_weights_load_as_they_are_and_others_are_refused():
    plain = nn.Conv2d(2, 3, 3)
    deformable, again = (DeformableConvolution(plain, modulated=False) for _ in range(2))
    nn.init.ones_(deformable.predictor.weight)
    again.load_state_dict(deformable.state_dict())
    assert torch.equal(again.predictor.weight, deformable.predictor.weight)
    without = {key: value for key, value in deformable.state_dict().items() if "predictor" not in key}
    with pytest.raises(RuntimeError, match=r"Missing key.*predictor\.weight"):
        again.load_state_dict(without)


def test_published_weights_are_those_of_the_plain_network(monkeypatch):
    plain, create = timm.create_model("resnet18", num_classes=5), timm.create_model
    monkeypatch.setattr(timm_networks, "hub_without_retries", lambda _: nullcontext())

    def create_model(name, pretrained, **options):
        body = create(name, **options)
        if pretrained:
            body.load_state_dict(plain.state_dict())
        return body

    monkeypatch.setattr(timm_networks.timm, "create_model", create_model)
    network = create_network("deformable_resnet18", num_classes=5, pretrained=True)
    assert torch.equal(network.body.layer4[0].conv2.convolution.weight, plain.layer4[0].conv2.weight)
    assert network.spec.mean == timm_networks.published("resnet18").mean
    assert network.spec.options == {}


def test_shapes_are_known_on_the_meta_device():
    with torch.device("meta"):
        assert build("resnet50", modulated=True)(torch.empty(2, 3, 32, 32)).shape == (2, 5)


def test_the_classifier_and_the_groups_of_timm_remain():
    with torch.device("meta"):
        network = build("resnet18", modulated=True)
    assert network.get_classifier() is network.fc
    groups = group_parameters(network, network.group_matcher(coarse=True))
    assert [{name.split(".")[0] for name in groups[number]} for number in sorted(groups)] == [
        {"conv1", "bn1"},
        {"layer1"},
        {"layer2"},
        {"layer3"},
        {"layer4"},
        {"fc"},
    ]
    assert sum(map(len, groups.values())) == len(list(network.parameters()))


def test_other_stages_are_an_error():
    with pytest.raises(ValueError, match=r"deformable_stages: got 4, expected 1, 2 or 3 .*use the network resnet50"):
        build("resnet50", deformable_stages=4)
