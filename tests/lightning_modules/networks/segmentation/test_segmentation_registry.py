"""Segmentation networks by name: one registry, normalisation, specs, training in float32 and bfloat16."""

import pytest
import torch
import torch.nn.functional as F

from lightning_modules.checkpoints import rebuild
from lightning_modules.networks import available_networks, create_network, describe_network, timm_networks
from lightning_modules.networks.segmentation.builders import ON_ENCODERS
from lightning_modules.networks.segmentation.registry import create_segmentation_network

SMALL = {
    "unet": {"width": 4, "depth": 3},
    "fcn8s": {"encoder": "resnet8"},
    "fcn16s": {"encoder": "mobilenetv3_small_050"},
    "fcn32s": {"encoder": "resnet10t"},
    "lraspp_mobilenet_v3_large": {},
    "deeplabv3_mobilenet_v3_large": {},
}


@pytest.mark.parametrize("name", SMALL)
def test_a_step_reaches_every_parameter_in_float32_and_bfloat16(name):
    network = create_segmentation_network(name, num_classes=4, **SMALL[name]).to(memory_format=torch.channels_last)
    images = torch.rand(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    masks = torch.randint(4, (2, 64, 64))
    for is_reduced in (False, True):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=is_reduced):
            logits, auxiliary = network.forward_with_auxiliary(images)
        loss = sum(F.cross_entropy(scores.float(), masks) for scores in (logits, *auxiliary))
        loss.backward()
        assert logits.shape == (2, 4, 64, 64)
        assert loss.isfinite()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("name", ["unet", "fcn8s"])
def test_steps_lower_the_loss(name):
    torch.manual_seed(0)
    network = create_segmentation_network(name, num_classes=2, **SMALL[name])
    images = torch.rand(4, 3, 16, 16)
    masks = (images.mean(dim=1) > 0.5).long()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    losses = []
    for _ in range(12):
        loss = F.cross_entropy(network(images), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("unet", {"width": 4, "depth": 2, "padding": "valid", "upsampling": "max_unpool", "drop_rate": 0.1}),
        ("unet", {"encoder": "resnet8", "width": 4, "upsampling": "nearest_conv", "drop_path_rate": 0.1}),
        ("fcn16s", {"encoder": "resnet8", "upsampling": "bed_of_nails", "drop_rate": 0.2}),
        ("fcn8s", {"encoder": "resnet8", "upsampling_kernel": 2}),
    ],
)
def test_a_spec_builds_the_same_network_again(name, options):
    network = create_segmentation_network(name, num_classes=4, num_channels=1, mean=(0.3,), std=(0.2,), **options)
    again = rebuild(network.spec.as_plain()).eval()
    again.load_state_dict(network.state_dict())
    images = torch.rand(2, 1, 20, 17)
    assert torch.equal(again(images), network.eval()(images))
    assert again.spec == network.spec
    assert network.spec.options == options


def test_it_is_the_network_of_the_one_registry():
    torch.manual_seed(0)
    network = create_network("unet", num_classes=4, image_size=64, width=4, upsampling="bilinear_conv").eval()
    torch.manual_seed(0)
    same = create_segmentation_network("unet", num_classes=4, width=4, upsampling="bilinear_conv").eval()
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(network(images), same(images))
    assert network.spec == same.spec


def test_names_are_listed_and_described():
    names = available_networks()
    assert len(names) == len(set(names))
    assert {*ON_ENCODERS, "deeplabv3_resnet50", "fcn_resnet101"} <= set(names)
    described = describe_network("unet", num_classes=1)
    assert (described.origin, described.parameters, described.input_size) == ("segmentation", 31_037_633, None)


def test_an_encoders_weights_bring_its_normalisation(monkeypatch):
    monkeypatch.setattr(timm_networks, "with_weights", lambda _, build: build(False))
    settings = {"num_classes": 2, "encoder": "resnet10t", "mean": (0.1,)}
    assert create_segmentation_network("fcn32s", pretrained=True, **settings).spec.mean == (0.485, 0.456, 0.406)
    assert create_segmentation_network("fcn32s", **settings).spec.mean == (0.1, 0.1, 0.1)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("unett", {}, r"network: got 'unett', expected a segmentation network; did you mean unet"),
        ("q", {}, r"network: got 'q', expected a segmentation network; choose one of unet, fcn32s"),
        ("resnet18", {}, r"network: got 'resnet18', a classification .* use unet or fcn8s with encoder='resnet18'"),
        ("unet", {"input_size": 64}, r"input_size: got 64 for 'unet', expected none"),
        ("unet", {"stem": "small", "width": 4}, r"stem: got 'small' for 'unet', expected 'auto' or 'standard'"),
        ("unet", {"drop_rate": 1.0}, r"drop_rate: got 1.0, expected a probability"),
    ],
)
def test_what_is_not_there_is_a_clear_error(name, options, message):
    with pytest.raises(ValueError, match=message):
        create_segmentation_network(name, num_classes=3, **options)


def test_the_registry_offers_segmentation_networks_too():
    with pytest.raises(ValueError, match=r"network: got 'deeplabv3_resnet5O'.*did you mean .*deeplabv3_resnet50"):
        create_network("deeplabv3_resnet5O", num_classes=3)
