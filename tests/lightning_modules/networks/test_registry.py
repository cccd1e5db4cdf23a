"""Networks by name: who builds them, with which options, and what is said where something is missing."""

import time
from types import SimpleNamespace

import pytest
import timm
import torch
from huggingface_hub import constants
from torchvision import models

from lightning_modules.networks import (
    Network,
    available_networks,
    count_parameters,
    create_network,
    describe_network,
    featured_networks,
    published,
    torchvision_networks,
)


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


def test_timm_networks_take_any_channels_and_classes():
    network = create_network("resnet10t", num_classes=7, num_channels=1, drop_rate=0.3)
    assert isinstance(network, Network)
    assert network(torch.rand(2, 1, 32, 32)).shape == (2, 7)
    assert network.spec.mean == pytest.approx(((0.485 + 0.456 + 0.406) / 3,))  # of ImageNet, for grey
    assert network.spec.options == {"drop_rate": 0.3}
    assert network.body.drop_rate == 0.3


def test_torchvisions_first_convolution_sums_its_channels_for_grey_images():
    torch.manual_seed(0)
    rgb = create_network("torchvision/squeezenet1_1", num_classes=3).eval()
    torch.manual_seed(0)
    grey = create_network("torchvision/squeezenet1_1", num_classes=3, num_channels=1, mean=(0.5,), std=(0.25,)).eval()
    images = torch.rand(2, 1, 32, 32)
    normalised = (images - 0.5) / 0.25
    torch.testing.assert_close(grey(images), rgb.body(normalised.expand(-1, 3, -1, -1)))
    five = create_network("torchvision/squeezenet1_1", num_classes=3, num_channels=5)
    assert five(torch.rand(2, 5, 32, 32)).shape == (2, 3)


def test_names_say_who_builds():
    assert describe_network("mobilenet_v2").origin == "torchvision"
    assert describe_network("resnet20").origin == "ours"
    assert describe_network("inception_v3").origin == "torchvision"
    assert describe_network("timm/inception_v3").origin == "timm"
    with torch.device("meta"):
        ours, theirs = (type(create_network(name, num_classes=2).body) for name in ("resnet18", "torchvision/resnet18"))
    assert (ours.__module__.partition(".")[0], theirs.__module__.partition(".")[0]) == ("timm", "torchvision")


def test_a_description_has_the_published_size_and_the_smallest_input():
    description = describe_network("alexnet", with_smallest_input=True)
    assert (description.parameters, description.input_size, description.smallest_input) == (61_100_840, 224, 63)
    assert describe_network("cnn_tiny", num_classes=10, num_channels=1).parameters == 1946
    assert describe_network("inception_v3").input_size == 299


def test_all_names_are_listed_once():
    names = available_networks()
    assert len(names) == len(set(names))
    assert {"cnn_tiny", "resnet50", "torchvision/resnet50", "timm/inception_v3"} <= set(names)
    assert set(featured_networks()) <= set(names)
    assert available_networks("wrn_*") == ["wrn_16_1", "wrn_16_2", "wrn_40_1", "wrn_40_2"]
    assert available_networks("huffle") == [name for name in names if "huffle" in name] != []


@pytest.mark.parametrize("name", ["resnet5O", "timm/resnet5O", "torchvision/resnet5O"])
def test_an_unknown_name_offers_the_nearest(name):
    with pytest.raises(ValueError, match=rf"network: got '{name}'.*did you mean .*resnet50"):
        create_network(name, num_classes=10)


def test_an_unknown_name_offers_those_that_need_a_prefix():
    with pytest.raises(ValueError, match=r"did you mean torchvision/swin_t "):
        create_network("swin_t", num_classes=10)
    with pytest.raises(ValueError, match=r"network: got 'convnext_atto.nope'"):
        create_network("convnext_atto.nope", num_classes=10)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet10t", {"image_size": 28, "drop_rate": 0.1, "drop_path_rate": 0.2}),
        ("vit_tiny_patch16_224", {"image_size": 28, "drop_path_rate": 0.1}),
        ("convnext_atto", {"image_size": 40}),
        ("mobilenet_v3_small", {"image_size": 28, "width_multiplier": 0.5, "resolution_multiplier": 0.75}),
        ("deformable_resnet18", {"image_size": 28, "deformable_stages": 1}),
    ],
)
def test_a_spec_builds_the_same_network_again(name, options):
    network = create_network(name, num_classes=4, num_channels=1, **options).eval()
    spec = network.spec.as_plain()
    again = create_network(spec.pop("name"), **spec.pop("options"), **spec).eval()
    again.load_state_dict(network.state_dict())
    images = torch.rand(2, 1, options["image_size"], options["image_size"])
    assert torch.equal(again(images), network(images))
    assert again.spec == network.spec


@pytest.mark.parametrize(
    ("name", "width", "theirs", "tolerance"),
    [
        ("mobilenet_v2", 1.4, "mobilenetv2_140", 0),
        ("mobilenet_v2", 0.5, "mobilenetv2_050", 0),
        # ports of the authors' networks, which round the widths inside a block otherwise
        ("mobilenet_v3_small", 0.75, "tf_mobilenetv3_small_075", 0.02),
        ("mobilenet_v3_large", 0.75, "tf_mobilenetv3_large_075", 0.02),
    ],
)
def test_the_width_multiplier_scales_as_other_builders_do(name, width, theirs, tolerance):
    with torch.device("meta"):
        parameters = count_parameters(create_network(name, num_classes=1000, width_multiplier=width))
    assert parameters == pytest.approx(describe_network(theirs).parameters, rel=tolerance)


def test_mobilenet_v1_of_half_the_width_has_the_papers_size():
    """1.3 million: Howard et al. 2017, table 6."""
    with torch.device("meta"):
        parameters = count_parameters(create_network("mobilenet_v1", num_classes=1000, width_multiplier=0.5))
    assert round(parameters / 1e6, 1) == 1.3


@pytest.mark.parametrize("width", [0.05, 2.5])
@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
def test_a_width_outside_its_range_is_an_error(name, width):
    with pytest.raises(ValueError, match=rf"width_multiplier: got {width}, expected 0.1 to 2"):
        create_network(name, num_classes=10, width_multiplier=width)


def test_the_resolution_multiplier_resizes():
    options = {"num_classes": 10, "num_channels": 1}
    network = create_network("mobilenet_v1", image_size=28, resolution_multiplier=0.5, **options)
    assert network.spec.input_size == 14
    with pytest.raises(ValueError, match=r"resolution_multiplier: got 1.5, expected a share in \(0, 1\]"):
        create_network("mobilenet_v1", image_size=28, resolution_multiplier=1.5, **options)
    with pytest.raises(ValueError, match=r"resolution_multiplier: got 0.5 with image_size=None"):
        create_network("mobilenet_v1", resolution_multiplier=0.5, **options)
    with pytest.raises(ValueError, match=r"resolution_multiplier: got 0.5 for 'resnet18', expected it only for"):
        create_network("resnet18", image_size=28, resolution_multiplier=0.5, **options)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("cnn_tiny", "drop_path_rate", 0.1),
        ("vgg8_cifar", "drop_path_rate", 0.1),
        ("densenet121", "drop_path_rate", 0.1),
        ("mobilenet_v2", "drop_path_rate", 0.1),
        ("torchvision/resnet18", "drop_rate", 0.1),
    ],
)
def test_noise_that_a_network_lacks_is_an_error(name, option, value):
    with pytest.raises(ValueError, match=rf"{option}: got {value} for '{name}', expected none"):
        create_network(name, num_classes=3, **{option: value})


def test_noise_that_a_builder_swallows_is_an_error(monkeypatch):
    build = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, drop_path_rate=None, **options: build(name, **options))
    with pytest.raises(ValueError, match=r"drop_path_rate: got 0.1 for 'resnet10t', expected none"):
        create_network("resnet10t", num_classes=3, drop_path_rate=0.1)


@pytest.mark.parametrize(
    ("name", "rate"), [("mobilenet_v3_small", "drop_rate"), ("torchvision/efficientnet_b0", "drop_path_rate")]
)
def test_noise_reaches_torchvisions_networks_by_their_names(name, rate):
    with torch.device("meta"):
        body = create_network(name, num_classes=3, **{rate: 0.123}).body
    rates = [module.p for module in body.modules() if type(module).__name__ in ("Dropout", "StochasticDepth")]
    assert 0.123 in rates if rate == "drop_rate" else max(rates[:-1]) == pytest.approx(0.123 * 15 / 16)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet18", {"foo": 1}, "foo: got 1 for 'resnet18', which has no such option"),
        ("mobilenet_v3_small", {"foo": 1}, "foo: got 1 for 'mobilenet_v3_small', which has no such option"),
        ("resnet18", {"width_multiplier": 0.5}, "width_multiplier: got 0.5 for 'resnet18', which has no such"),
        ("resnet18", {"in_chans": 2}, "in_chans: got 2 for 'resnet18', which sets it itself"),
        ("resnet18", {"drop_rate": 1.0}, r"drop_rate: got 1.0, expected a probability in \[0, 1\)"),
    ],
)
def test_options_that_are_wrong_are_clear_errors(name, options, message):
    with pytest.raises(ValueError, match=message):
        create_network(name, num_classes=3, **options)


@pytest.mark.parametrize("name", ["cnn_tiny", "resnet20", "shufflenetv2_cifar"])
def test_weights_that_nobody_published_are_a_clear_error(name):
    with pytest.raises(ValueError, match=rf"pretrained: got True for '{name}'.*no published weights"):
        create_network(name, num_classes=10, pretrained=True)


@pytest.mark.parametrize("name", ["resnet10t", "torchvision/resnet18", "mobilenet_v3_small"])
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


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "googlenet"])
def test_published_weights_are_loaded_and_the_classifiers_replaced(monkeypatch, name):
    torch.manual_seed(1)
    theirs = models.get_model(name, **({"aux_logits": True, "init_weights": True} if name == "googlenet" else {}))
    real = models.get_model_weights(name).DEFAULT
    weights = SimpleNamespace(url=real.url, transforms=real.transforms, get_state_dict=lambda **_: theirs.state_dict())
    monkeypatch.setattr(torchvision_networks, "require_reachable", lambda *_: None)
    monkeypatch.setattr(torchvision_networks.models, "get_model_weights", lambda _: SimpleNamespace(DEFAULT=weights))
    network = create_network(name, num_classes=7, num_channels=1, image_size=28, mean=(0.1,), pretrained=True)
    loaded, expected = network.body.state_dict(), theirs.state_dict()
    first, *_ = [key for key, value in expected.items() if value.ndim == 4]
    torch.testing.assert_close(loaded.pop(first), expected.pop(first).sum(dim=1, keepdim=True))
    new = [key for key, value in loaded.items() if value.shape[:1] == (7,)]
    assert len(new) == {"mobilenet_v3_small": 2, "googlenet": 6}[name]
    assert all(torch.equal(value, expected[key]) for key, value in loaded.items() if key not in new)
    assert network.spec.mean == pytest.approx((0.5 if name == "googlenet" else (0.485 + 0.456 + 0.406) / 3,))
    assert network.spec.options == {}  # the published stem
