"""The networks of segmentation_models_pytorch, where it is installed, and what is said where it is not."""

import sys
from importlib.util import find_spec

import pytest
import torch

from lightning_modules.networks import available_networks, create_network
from lightning_modules.networks.segmentation import smp_networks

installed = pytest.mark.skipif(find_spec(smp_networks.PACKAGE) is None, reason="an optional extra")


def test_without_the_package_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, smp_networks.PACKAGE, None)
    with pytest.raises(ValueError, match=r"network: names that begin with smp/ .* pip install segmentation-models"):
        create_network("smp/Unet", num_classes=3)
    monkeypatch.setattr(smp_networks, "find_spec", lambda _: None)
    assert available_networks("smp/*") == []


@installed
@pytest.mark.parametrize("name", smp_networks.names() if find_spec(smp_networks.PACKAGE) else [])
def test_all_take_any_size(name):
    options = {} if name == "smp/DPT" else {"encoder": "resnet18"}
    with torch.device("meta"):
        network = create_network(name, num_classes=5, **options)
        assert network(torch.empty(2, 3, 250, 131)).shape == (2, 5, 250, 131)
        head = network.body.get_classifier()
    assert head.out_channels == 5


@installed
def test_it_learns():
    network = create_network("smp/FPN", num_classes=5, num_channels=1, encoder="resnet18", decoder_dropout=0.4)
    network(torch.rand(2, 1, 40, 64)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert network.body.model.decoder.dropout.p == 0.4


@installed
@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("smp/Unett", {}, r"network: got 'smp/Unett', expected a name .*did you mean .*smp/Unet"),
        ("smp/Unet", {"encoder": "resnet1"}, r"encoder: got 'resnet1' for 'smp/Unet', .*did you mean resnet"),
        ("smp/Unet", {"encoder": "tu-resnet18", "foo": 1}, r"foo: got 1 for 'smp/Unet', which has no such option"),
        ("smp/Unet", {"upsampling": "max_unpool"}, r"upsampling: got 'max_unpool' for 'smp/Unet', which has no such"),
        ("smp/Unet", {"drop_rate": 0.1}, r"drop_rate: got 0.1 for 'smp/Unet', expected none"),
    ],
)
def test_bad_options_are_clear_errors(name, options, message):
    with pytest.raises(ValueError, match=message):
        create_network(name, num_classes=5, **options)
