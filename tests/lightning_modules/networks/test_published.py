"""Weights that others published: found, renamed, loaded, or a clear error."""

import re
import time
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import constants
from torchvision import models

from lightning_modules.networks import create_network, published, torchvision_networks


@pytest.mark.parametrize("name", ["cnn_tiny", "resnet20", "shufflenetv2_cifar"])
def test_weights_that_nobody_published_are_a_clear_error(name):
    with pytest.raises(ValueError, match=rf"pretrained: got True for '{name}'.*no published weights"):
        create_network(name, num_classes=10, pretrained=True)


@pytest.mark.parametrize("name", ["resnet10t", "torchvision/resnet18", "mobilenet_v3_small", "deformable_resnet18"])
def test_weights_out_of_reach_are_a_clear_error_at_once(monkeypatch, tmp_path, name):
    monkeypatch.setattr(published, "reaches", lambda address: False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    start, offline = time.monotonic(), constants.HF_HUB_OFFLINE
    with pytest.raises(ValueError, match=r"pretrained: the weights of '.*' could not be had"):
        create_network(name, num_classes=10, pretrained=True)
    assert time.monotonic() - start < 5
    assert constants.HF_HUB_OFFLINE is offline


def test_a_host_that_is_not_there_is_out_of_reach():
    assert not published.reaches("http://127.0.0.1:9/")


def publish(monkeypatch, name, state):
    """Let torchvision have published this state dictionary of ``name``."""
    real = models.get_model_weights(name).DEFAULT
    weights = SimpleNamespace(url=real.url, transforms=real.transforms, get_state_dict=lambda **_: state)
    monkeypatch.setattr(torchvision_networks, "require_reachable", lambda *_: None)
    monkeypatch.setattr(torchvision_networks.models, "get_model_weights", lambda _: SimpleNamespace(DEFAULT=weights))


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "googlenet"])
def test_published_weights_are_loaded_and_the_classifiers_replaced(monkeypatch, name):
    torch.manual_seed(1)
    theirs = models.get_model(name, **({"aux_logits": True, "init_weights": True} if name == "googlenet" else {}))
    publish(monkeypatch, name, theirs.state_dict())
    network = create_network(name, num_classes=7, num_channels=1, image_size=28, mean=(0.1,), pretrained=True)
    loaded, expected = network.body.state_dict(), theirs.state_dict()
    first, *_ = [key for key, value in expected.items() if value.ndim == 4]
    torch.testing.assert_close(loaded.pop(first), expected.pop(first).sum(dim=1, keepdim=True))
    new = [key for key, value in loaded.items() if value.shape[:1] == (7,)]
    assert len(new) == {"mobilenet_v3_small": 2, "googlenet": 6}[name]
    assert all(torch.equal(value, expected[key]) for key, value in loaded.items() if key not in new)
    assert network.spec.mean == pytest.approx((0.5 if name == "googlenet" else (0.485 + 0.456 + 0.406) / 3,))
    assert network.spec.options == {}  # the published stem


def test_published_weights_of_densenet_have_their_old_names(monkeypatch):
    theirs = models.densenet121().state_dict()
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", key): value for key, value in theirs.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    publish(monkeypatch, "densenet121", old)
    loaded = create_network("torchvision/densenet121", num_classes=1000, pretrained=True).body.state_dict()
    assert loaded.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[key]) for key, value in loaded.items())


def test_published_weights_that_do_not_fit_are_no_matter_of_the_network(monkeypatch):
    publish(monkeypatch, "mobilenet_v3_small", models.mobilenet_v3_small().state_dict())
    with pytest.raises(ValueError, match=r"pretrained: got True .* that the published weights fit .*size mismatch"):
        create_network("mobilenet_v3_small", num_classes=3, pretrained=True, width_multiplier=0.5)
