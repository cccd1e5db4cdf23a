"""The order of layers, from stem to head."""

import pytest
import timm
import torch
from torch import nn

from lightning_modules.networks import create_network
from lightning_modules.networks.layers import find_head, find_heads, layer_groups
from lightning_modules.networks.shapes import ShapesOnly


def create(name: str) -> nn.Module:
    with torch.device("meta"), ShapesOnly():
        return create_network(name, num_classes=7)


def modules_of(group: list[str], depth: int) -> list[str]:
    """Return the distinct beginnings of a group's names, without ``body.``, in order."""
    return list(dict.fromkeys(".".join(name.split(".")[1 : 1 + depth]) for name in group))


@pytest.mark.parametrize(
    ("name", "head", "num_groups"),
    [
        ("resnet18", "fc", 6),
        ("efficientnet_b0", "classifier", 9),
        ("convnext_tiny", "head.fc", 6),
        ("vit_tiny_patch16_224", "head", 14),
        ("densenet121", "classifier", 6),
        ("vgg11", "head.fc", 10),
        ("vgg11_bn", "head.fc", 10),
        ("mobilenetv3_small_100", "classifier", 9),
        ("deformable_resnet18", "fc", 6),
        ("tresnet_m", "head.fc", 6),  # timm's own attribute ``body``
        ("rdnet_tiny", "head.fc", 9),  # a matcher of blocks only
        ("alexnet", "classifier.6", 8),
        ("googlenet", "fc", 13),
        ("inception_v3", "fc", 17),
        ("mobilenet_v2", "classifier.1", 20),
        ("mobilenet_v3_small", "classifier.3", 15),
        ("shufflenetv2_cifar", "fc", 6),
        ("lenet5", "classifier", 5),
        ("resnet20", "classifier", 5),
        ("wrn_16_2", "classifier", 5),
        ("vgg8_cifar", "classifier", 6),
        ("mobilenet_v1", "classifier", 15),
        ("cnn_small", "classifier", 5),
    ],
)
def test_every_parameter_is_in_one_group_and_the_head_is_last(name, head, num_groups):
    network = create(name)
    groups = layer_groups(network)
    names = [name for group in groups for name in group]
    assert len(names) == len(set(names))
    assert set(names) == {name for name, _ in network.named_parameters()}
    assert len(groups) == num_groups
    assert find_head(network.body, 7) == head
    auxiliary = getattr(network.body, "auxiliary_heads", ())
    assert {f"body.{head}.weight", f"body.{head}.bias"} <= set(groups[-1])
    assert all(name.startswith(tuple(f"body.{part}." for part in (head, *auxiliary))) for name in groups[-1])
    first = next(name for name, module in network.named_modules() if isinstance(module, nn.Conv2d))
    assert f"{first}.weight" in groups[0]


def test_the_stages_of_a_residual_network_are_in_order():
    groups = layer_groups(create("resnet18"))
    assert modules_of(groups[0], 1) == ["conv1", "bn1"]
    assert [modules_of(group, 1) for group in groups[1:]] == [[f"layer{n}"] for n in (1, 2, 3, 4)] + [["fc"]]
    own = layer_groups(create("resnet20"))
    assert [modules_of(group, 2) for group in own[1:4]] == [["stages.0"], ["stages.1"], ["stages.2"]]


def test_a_norm_joins_the_convolution_before_it():
    groups = layer_groups(create("cnn_small"))
    assert groups[1] == [f"body.features.{name}" for name in ("3.weight", "4.weight", "4.bias")]
    assert "body.norm.weight" in layer_groups(create("wrn_16_2"))[3]
    assert "body.features.norm5.weight" in layer_groups(create("densenet121"))[4]
    assert "body.head.norm.weight" in layer_groups(create("convnext_tiny"))[4]


def test_auxiliary_classifiers_are_with_the_head():
    for name, auxiliary in (("googlenet", {"aux1", "aux2", "fc"}), ("inception_v3", {"AuxLogits", "fc"})):
        assert set(modules_of(layer_groups(create(name))[-1], 1)) == auxiliary


def test_two_heads_side_by_side_are_one_group():
    with torch.device("meta"):
        network = timm.create_model("deit_tiny_distilled_patch16_224", num_classes=7)
    assert layer_groups(network)[-1] == ["head.weight", "head.bias", "head_dist.weight", "head_dist.bias"]


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("sequencer2d_s", ["head.fc"]),  # timm's ClassifierHead
        ("caformer_s18", ["head.fc.fc2"]),  # a perceptron
        ("iformer_t", ["head.head.l"]),
        ("repvit_m0_9", ["head.head.l", "head.head_dist.l"]),  # two with a norm each, in one classifier
        ("levit_128s", ["head.linear", "head_dist.linear"]),
        ("efficientvim_m1_dist", [f"{name}.{n}" for name in ("heads", "heads_dist") for n in range(4)]),
        ("volo_d1_224", ["head", "aux_head"]),  # registered the other way round
    ],
)
def test_in_a_classifier_of_several_layers_the_head_is_what_gives_the_logits(name, heads):
    network = create(name)
    assert find_heads(network.body, 7) == find_heads(network.body) == heads
    groups = layer_groups(network)
    assert sorted(groups[-1]) == sorted(f"body.{head}.{kind}" for head in heads for kind in ("weight", "bias"))
    assert sorted(name for group in groups for name in group) == sorted(dict(network.named_parameters()))


def test_networks_from_elsewhere():
    blocks = [nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), nn.Sequential(nn.Conv2d(4, 4, 3))]
    network = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(4, 7))
    assert layer_groups(network) == [
        ["0.0.weight", "0.0.bias", "0.1.weight", "0.1.bias"],
        ["1.0.weight", "1.0.bias"],
        ["3.weight", "3.bias"],
    ]
    assert layer_groups(nn.Linear(3, 7)) == [["weight", "bias"]]
    convolutional = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 7, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert find_head(convolutional, 7) == "1"


def test_a_body_without_a_head_is_refused():
    with pytest.raises(ValueError, match=r"network: got Sequential without a linear layer .* of 7 outputs"):
        find_head(nn.Sequential(nn.Conv2d(1, 7, 3), nn.Linear(7, 3)), 7)
