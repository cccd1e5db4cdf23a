"""Networks by name, each with its normalisation."""

import pytest
import torch

from lightning_modules.networks import Network, available_networks, count_parameters, create_network


@pytest.mark.parametrize(
    ("name", "parameters"), [("cnn_tiny", 1946), ("cnn_small", 16_794), ("cnn_medium", 65_834), ("cnn_large", 556_106)]
)
def test_our_own_have_the_sizes_that_readme_names(name, parameters):
    network = create_network(name, num_classes=10, num_channels=1)
    assert count_parameters(network) == parameters
    logits = network(torch.rand(2, 1, 8, 8))
    logits.square().sum().backward()
    assert logits.shape == (2, 10)
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_a_network_normalises_its_images_itself():
    network = create_network("cnn_tiny", num_classes=4, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)).eval()
    images = torch.rand(2, 3, 8, 8)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7)))
    assert torch.equal(network(images), network.body((images - mean) / std))


def test_a_network_resizes_if_asked():
    network = create_network("cnn_tiny", num_classes=4, num_channels=1, input_size=16).eval()
    sizes = []
    network.body.register_forward_pre_hook(lambda module, inputs: sizes.append(inputs[0].shape[-2:]))
    network(torch.rand(2, 1, 9, 12))
    assert sizes == [(16, 16)]


def test_timm_networks_take_any_channels_and_classes():
    network = create_network("resnet10t", num_classes=7, num_channels=1, drop_rate=0.3)
    assert isinstance(network, Network)
    assert network(torch.rand(2, 1, 32, 32)).shape == (2, 7)
    assert network.spec.mean == pytest.approx(((0.485 + 0.456 + 0.406) / 3,))  # of ImageNet, for grey
    assert network.spec.options == {"drop_rate": 0.3}


def test_all_names_are_listed():
    names = available_networks()
    assert {"cnn_tiny", "cnn_large", "resnet50"} <= set(names)


def test_an_unknown_name_offers_the_nearest():
    with pytest.raises(ValueError, match=r"network: got 'resnet5O'.*did you mean .*resnet50"):
        create_network("resnet5O", num_classes=10)


def test_pretrained_weights_that_cannot_be_had_are_a_clear_error(monkeypatch):
    with pytest.raises(ValueError, match=r"pretrained: got True for 'cnn_tiny'.*no published weights"):
        create_network("cnn_tiny", num_classes=10, pretrained=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import timm

    def unreachable(*arguments, **options):
        raise OSError("We couldn't connect to the hub")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(ValueError, match=r"pretrained: the weights of 'resnet10t' could not be had \(We couldn't"):
        create_network("resnet10t", num_classes=10, pretrained=True)
