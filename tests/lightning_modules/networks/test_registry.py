"""Networks by name: who builds them, with which options, and what is said where something is missing."""

from functools import partial

import pytest
import timm
import torch

from lightning_modules.networks import (
    Network,
    NetworkDescription,
    available_networks,
    count_parameters,
    create_network,
    describe_network,
    featured_networks,
    own_networks,
)
from lightning_modules.networks.wide_residual import WideResidual


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


def test_a_description_has_the_published_size():
    assert describe_network("alexnet") == NetworkDescription("alexnet", "torchvision", 61_100_840, 224)
    assert describe_network("deformable_resnet18").input_size == describe_network("resnet18").input_size
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
        ("vit_tiny_patch16_224", {"image_size": 28, "patch_size": 7, "depth": 1}),
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
    ("name", "rate"),
    [
        ("mobilenet_v3_small", "drop_rate"),
        ("torchvision/efficientnet_b0", "drop_path_rate"),
    ],
)
def test_noise_reaches_torchvisions_networks_by_their_names(name, rate):
    with torch.device("meta"):
        body = create_network(name, num_classes=3, **{rate: 0.123}).body
    rates = [module.p for module in body.modules() if type(module).__name__ in ("Dropout", "StochasticDepth")]
    assert 0.123 in rates if rate == "drop_rate" else max(rates[:-1]) == pytest.approx(0.123 * 15 / 16)


def test_a_rate_that_torchvision_calls_as_we_do_keeps_its_name():
    with torch.device("meta"):
        body = create_network("torchvision/densenet121", num_classes=3, drop_rate=0.2).body
    assert {module.drop_rate for module in body.modules() if hasattr(module, "drop_rate")} == {0.2}
    with pytest.raises(ValueError, match=r"drop_path_rate: got 0.1 for 'torchvision/densenet121', expected none"):
        create_network("torchvision/densenet121", num_classes=3, drop_path_rate=0.1)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet18", {"foo": 1}, "foo: got 1 for 'resnet18', which has no such option"),
        ("mobilenet_v3_small", {"foo": 1}, "foo: got 1 for 'mobilenet_v3_small', which has no such option"),
        ("resnet18", {"width_multiplier": 0.5}, "width_multiplier: got 0.5 for 'resnet18', which has no such"),
        ("resnet18", {"in_chans": 2}, "in_chans: got 2 for 'resnet18', which sets it itself"),
        ("resnet18", {"drop_rate": 1.0}, r"drop_rate: got 1.0, expected a probability in \[0, 1\)"),
        ("cnn_tiny", {"drop_rate": "abc"}, "drop_rate: got 'abc', expected a number"),
        ("mobilenet_v1", {"width_multiplier": "abc"}, "width_multiplier: got 'abc', expected a number"),
        ("mobilenet_v1", {"resolution_multiplier": True}, "resolution_multiplier: got True, expected a number"),
        ("resnet8", {"depth": 20}, "depth: got 20 for 'resnet8', which sets it itself; leave it out, or choose"),
        ("wrn_16_1", {"width_multiplier": 4}, "width_multiplier: got 4 for 'wrn_16_1', which sets it itself"),
        ("mobilenet_v3_small", {"last_width": 9}, "last_width: got 9 for 'mobilenet_v3_small', which sets it itself"),
        ("cnn_tiny", {"widths": 3}, "widths: got 3 for 'cnn_tiny', which sets it itself"),
        ("resnet8", {"widths": 3}, r"options: got \{'widths': 3\} for 'resnet8', expected values that it can be built"),
    ],
)
def test_options_that_are_wrong_are_clear_errors(name, options, message):
    with pytest.raises(ValueError, match=message):
        create_network(name, num_classes=3, **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "num_classes: got 0, expected 1 or more"),
        ({"num_channels": 0}, "num_channels: got 0, expected 1 or more"),
        ({"input_size": 0}, "input_size: got 0, expected 1 or more"),
        ({"image_size": -1}, "image_size: got -1, expected 1 or more"),
        ({"mean": (0.1, 0.2)}, r"mean: got \(0.1, 0.2\), expected one for each of num_channels=3, or one for all"),
        ({"std": (0.1, 0.2)}, r"std: got \(0.1, 0.2\), expected one for each"),
        ({"std": (0.1, 0.0, 0.2)}, r"std: got \(0.1, 0.0, 0.2\), expected numbers above 0"),
    ],
)
def test_arguments_that_make_no_sense_are_clear_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        create_network("cnn_tiny", **({"num_classes": 3} | arguments))
    assert create_network("cnn_tiny", num_classes=3, mean=(0.1,), std=(0.2,)).spec.mean == (0.1, 0.1, 0.1)


def test_the_range_of_widths_is_of_the_mobilenets_alone(monkeypatch):
    monkeypatch.setitem(own_networks.NETWORKS, "wrn_16", partial(WideResidual, depth=16))
    with torch.device("meta"):
        wide = create_network("wrn_16", num_classes=3, width_multiplier=4)
    assert wide.body.classifier.in_features == 64 * 4
    with pytest.raises(ValueError, match=r"width_multiplier: got 0.5, expected a whole number of at least 1"):
        create_network("wrn_16", num_classes=3, width_multiplier=0.5)
