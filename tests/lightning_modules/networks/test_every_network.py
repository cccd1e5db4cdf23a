"""Every network that the project shows: its size, a step of it alone, as a student and as a teacher."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_modules.distillation import DistillationModule
from lightning_modules.networks import FEATURED, create_network, describe_network, featured_networks
from lightning_modules.networks.featured import NEEDED_BY_STANDARD_STEM, NEEDED_INPUT
from lightning_modules.networks.shapes import ShapesOnly

PUBLISHED = {
    # torchvision's documentation of its weights; GoogLeNet's 6,624,904 are without the two auxiliary classifiers
    "alexnet": 61_100_840,
    "vgg11": 132_863_336,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "googlenet": 6_624_904 + 6_379_984,
    "inception_v3": 27_161_264,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "densenet121": 7_978_856,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v3_small": 2_542_856,
    "mobilenet_v3_large": 5_483_032,
    "efficientnet_b0": 5_288_548,
    "efficientnet_b1": 7_794_184,
    "efficientnet_b2": 9_109_994,
    "efficientnet_b3": 12_233_232,
    "efficientnet_b4": 19_341_616,
    "efficientnet_b5": 30_389_784,
    "efficientnet_b6": 43_040_704,
    "efficientnet_b7": 66_347_960,
    "efficientnetv2_s": 21_458_488,
    "efficientnetv2_m": 54_139_356,
    "efficientnetv2_l": 118_515_272,
    "convnext_tiny": 28_589_128,
    # millions in the papers and in timm's table of results
    "seresnet50": 28.09,
    "mobilenet_v1": 4.2,
    "convnext_atto": 3.70,
    "vit_tiny_patch16_224": 5.72,
    "vit_small_patch16_224": 22.05,
}
REPRESENTATIVES = (
    "cnn_small",
    "lenet5",
    "alexnet",
    "vgg11",
    "googlenet",
    "inception_v3",
    "resnet18",
    "densenet121",
    "seresnet50",
    "deformable_resnet18",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "efficientnetv2_s",
    "convnext_atto",
    "vit_tiny_patch16_224",
    "resnet8",
    "resnet8x4",
    "resnet20",
    "wrn_16_1",
    "vgg8_cifar",
    "shufflenetv2_cifar",
)
LIGHTER = {"vgg11": {"mlp_ratio": 0.02}}
"""Options without which a network's 100 million weights would take seconds to draw."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_has_as_many_parameters_as_published(name):
    parameters = describe_network(name).parameters
    expected = PUBLISHED[name]
    if isinstance(expected, int):
        assert parameters == expected
    else:
        decimals = len(str(expected).partition(".")[2])
        assert round(parameters / 1e6, decimals) == expected


def test_shufflenet_has_as_many_parameters_as_in_the_distillation_tables():
    """1.36 million: Tian et al. 2020, whose code this is, with the head of CIFAR-100."""
    assert describe_network("shufflenetv2_cifar", num_classes=100).parameters == 1_355_528


def test_every_family_is_represented():
    assert set(REPRESENTATIVES) <= set(featured_networks())
    assert all(set(names) & set(REPRESENTATIVES) for names in FEATURED.values())


@pytest.mark.parametrize("name", NEEDED_BY_STANDARD_STEM)
def test_the_published_stem_needs_larger_images(name):
    sizes = {"image_size": 28, "input_size": NEEDED_BY_STANDARD_STEM[name]}
    create_network(name, num_classes=10, num_channels=1, stem="standard", **sizes)
    with pytest.raises(ValueError, match="image_size: got 28"):
        create_network(name, num_classes=10, num_channels=1, stem="standard", image_size=28)


def create(name: str, **options: float) -> nn.Module:
    """Return the network for ten classes of grey 28×28 images."""
    sizes = {"image_size": 28, "input_size": NEEDED_INPUT.get(name)}
    return create_network(name, num_classes=10, num_channels=1, **sizes, **options)


@pytest.fixture
def without_trainer(monkeypatch):
    monkeypatch.setattr(DistillationModule, "progress", 0.0)
    monkeypatch.setattr(DistillationModule, "track", lambda *_: None)


@pytest.mark.parametrize("name", REPRESENTATIVES)
@pytest.mark.usefixtures("without_trainer")
def test_it_learns_from_a_teacher_and_teaches(name):
    batch = torch.rand(2, 1, 28, 28), torch.tensor([3, 7])
    network, other = create(name, **LIGHTER.get(name, {})), create("cnn_tiny")
    loss = DistillationModule(network, other, 10).training_step(batch, 0)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    student = create("cnn_tiny")
    loss = DistillationModule(student, network, 10).training_step(batch, 0)
    loss.backward()
    assert loss.isfinite()
    assert all(parameter.grad is not None for parameter in student.parameters())
    assert not network.training


@pytest.mark.parametrize("name", sorted({*featured_networks()} - {*REPRESENTATIVES} | {*LIGHTER}))
def test_a_larger_one_runs_forward_and_backward(name):
    """Shapes and graph only: to draw 100 million weights takes seconds."""
    with torch.device("meta"), ShapesOnly():
        network = create(name)
        logits, auxiliary = network.forward_with_auxiliary(torch.empty(2, 1, 28, 28))
        sum(F.cross_entropy(k, torch.zeros(2, dtype=torch.int64)) for k in (logits, *auxiliary)).backward()
    assert logits.shape == (2, 10)
    norms = {p for m in network.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()}
    assert all(p.grad is not None for p in network.parameters() if p not in norms)
