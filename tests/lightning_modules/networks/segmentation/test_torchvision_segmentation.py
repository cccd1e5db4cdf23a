"""torchvision's segmentation networks: as they are there, with their auxiliary heads in training alone."""

import pytest
import torch
from torch import nn
from torchvision import models

from lightning_modules.networks import count_parameters, create_network, describe_network
from lightning_modules.networks.layers import layer_groups
from lightning_modules.networks.segmentation import torchvision_segmentation
from lightning_modules.networks.shapes import ShapesOnly

SIZES = {  # torchvision's documentation of its weights
    "deeplabv3_mobilenet_v3_large": 11_029_328,
    "deeplabv3_resnet50": 42_004_074,
    "deeplabv3_resnet101": 60_996_202,
    "fcn_resnet50": 35_322_218,
    "fcn_resnet101": 54_314_346,
    "lraspp_mobilenet_v3_large": 3_221_538,
}
LIGHT = ("deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large")


def reference(name, **options):
    auxiliary = {} if name.startswith("lraspp") else {"aux_loss": True}
    return models.get_model(name, weights=None, weights_backbone=None, **auxiliary, **options)


@pytest.mark.parametrize("name", LIGHT)
def test_logits_are_torchvisions(name):
    body = create_network(name, num_classes=5).body
    model = reference(name, num_classes=5)
    model.load_state_dict(body.state_dict())
    images = torch.rand(2, 3, 40, 65)
    expected = model.eval()(images)
    torch.testing.assert_close(body.eval()(images), expected["out"])
    for module in body.train().modules():
        if isinstance(module, nn.BatchNorm2d | nn.Dropout):
            module.eval()
    outputs = body(images)
    if "aux" in expected:
        torch.testing.assert_close(outputs, (expected["out"], expected["aux"]))
    else:
        torch.testing.assert_close(outputs, expected["out"])


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_all_run_forward_and_backward(name, size):
    """Shapes and graph only."""
    with torch.device("meta"), ShapesOnly():
        network = create_network(name, num_classes=21)
        logits, auxiliary = network.forward_with_auxiliary(torch.empty(2, 3, 64, 50))
        sum(scores.sum() for scores in (logits, *auxiliary)).backward()
    assert [scores.shape for scores in (logits, *auxiliary)] == [(2, 21, 64, 50)] * (1 if "lraspp" in name else 2)
    norms = {p for module in network.modules() if isinstance(module, nn.BatchNorm2d) for p in module.parameters()}
    assert all(p.grad is not None for p in network.parameters() if p not in norms)
    assert count_parameters(network) == size


def test_a_description_has_the_published_size():
    described = describe_network("lraspp_mobilenet_v3_large", num_classes=21, num_channels=1)
    assert (described.origin, described.input_size) == ("segmentation", 520)
    assert described.parameters == SIZES["lraspp_mobilenet_v3_large"] - 2 * 16 * 9


def test_the_auxiliary_head_can_be_left_out():
    network = create_network(LIGHT[0], num_classes=5)
    exported = network.without_auxiliary()
    images = torch.rand(1, 3, 33, 33)
    assert not [name for name, _ in exported.named_parameters() if "aux" in name]
    assert torch.equal(exported(images), network.eval()(images))


def test_the_last_group_of_layers_is_the_heads():
    network = create_network(LIGHT[0], num_classes=5)
    last = layer_groups(network)[-1]
    assert {name.rpartition(".")[0] for name in last if not name.startswith("body.aux")} == {"body.classifier.4"}
    assert any(name.startswith("body.aux_classifier") for name in last)


def test_rates_are_those_of_the_heads():
    network = create_network(LIGHT[0], num_classes=5, drop_rate=0.3)
    assert {module.p for module in network.modules() if isinstance(module, nn.Dropout)} == {0.3}
    with pytest.raises(ValueError, match=r"drop_rate: got 0.3 for 'lraspp_mobilenet_v3_large', expected none"):
        create_network(LIGHT[1], num_classes=5, drop_rate=0.3)
    with pytest.raises(ValueError, match=r"encoder: got 'resnet8' for 'lraspp_mobilenet_v3_large', which has no such"):
        create_network(LIGHT[1], num_classes=5, encoder="resnet8")


def test_published_weights_keep_all_but_the_heads(monkeypatch):
    published = reference(LIGHT[1])
    monkeypatch.setattr(
        torchvision_segmentation, "load_published", lambda _, model: model.load_state_dict(published.state_dict())
    )
    network = create_network(LIGHT[1], num_classes=5, pretrained=True, mean=(0.1,))
    assert network.spec.mean == (0.485, 0.456, 0.406)
    state, given = network.body.state_dict(), published.state_dict()
    changed = {name for name in given if state[name].shape != given[name].shape or not state[name].equal(given[name])}
    assert {name.split(".")[1] for name in changed} == {"low_classifier", "high_classifier"}
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 5, 32, 32)
