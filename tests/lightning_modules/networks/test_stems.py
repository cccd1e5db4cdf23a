"""Small images: stems that keep their side, patches that divide it, and the sides that are too small."""

import pytest
import torch

from lightning_modules.networks import create_network
from lightning_modules.networks.shapes import ShapesOnly
from lightning_modules.networks.smallest_input import runs, smallest_input
from lightning_modules.networks.stems import vit_patch

RESIDUAL = ("resnet18", "resnet50", "seresnet50", "deformable_resnet18", "resnet20", "wrn_16_1", "densenet121")
LAST_MAP = {"googlenet": "inception5b", "convnext_atto": "stages", "densenet121": "features", "resnet20": "stages"}
LAST_MAP |= dict.fromkeys(("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "torchvision/resnet18"), "features")
LAST_MAP |= {"torchvision/resnet18": "layer4", "efficientnet_b0": "blocks", "efficientnetv2_s": "blocks"}
LAST_MAP |= {"wrn_16_1": "stages", "shufflenetv2_cifar": "conv5"}


def on_meta(name, **options):
    with torch.device("meta"), ShapesOnly():
        return create_network(name, num_classes=10, num_channels=1, **options)


@pytest.mark.parametrize("name", sorted({*RESIDUAL, *LAST_MAP}))
def test_28_pixels_leave_a_map_of_at_least_two_by_two(name):
    network = on_meta(name, image_size=28)
    seen = []
    last = network.body.get_submodule(LAST_MAP.get(name, "layer4"))
    last.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    with torch.device("meta"), ShapesOnly():
        network(torch.empty(2, 1, 28, 28))
    assert min(seen[0][-2:]) >= 2


def test_the_small_stem_is_a_3x3_convolution_of_stride_1_without_pooling():
    body = create_network("resnet18", num_classes=10, image_size=32).body
    assert (body.conv1.kernel_size, body.conv1.stride, body.conv1.padding) == ((3, 3), (1, 1), (1, 1))
    assert isinstance(body.maxpool, torch.nn.Identity)
    # ResNet-18 of the CIFAR literature at 10 classes
    assert sum(parameter.numel() for parameter in body.parameters()) == 11_173_962


def test_a_3x3_convolution_keeps_its_weights():
    torch.manual_seed(0)
    standard = create_network("mobilenet_v3_small", num_classes=10)
    torch.manual_seed(0)
    small = create_network("mobilenet_v3_small", num_classes=10, image_size=32)
    assert small.body.features[0][0].stride == (1, 1)
    assert all(torch.equal(a, b) for a, b in zip(standard.parameters(), small.parameters(), strict=True))


@pytest.mark.parametrize(
    "sizes", [{}, {"image_size": 65}, {"image_size": 28, "input_size": 224}, {"image_size": 28, "stem": "standard"}]
)
def test_the_standard_stem_stays_where_it_should(sizes):
    network = on_meta("resnet18", **sizes)
    assert network.body.conv1.stride == (2, 2)
    assert "stem" not in network.spec.options


def test_a_stem_that_is_not_there_is_an_error():
    with pytest.raises(ValueError, match=r"stem: got 'small' for 'vgg11', expected 'auto' or 'standard'"):
        on_meta("vgg11", stem="small")
    with pytest.raises(ValueError, match=r"stem: got 'tiny', expected one of auto, standard, small"):
        on_meta("resnet18", stem="tiny")
    with pytest.raises(ValueError, match=r"stem: got 'small' for the pretrained 'resnet18'"):
        on_meta("resnet18", stem="small", pretrained=True)
    with pytest.raises(ValueError, match=r"image_size: got None for 'vit_tiny_patch16_224'"):
        on_meta("vit_tiny_patch16_224", stem="small")


@pytest.mark.parametrize(("side", "patch"), [(28, 4), (32, 4), (64, 8), (8, 1), (14, 2)])
def test_vit_patches_divide_the_side(side, patch):
    assert vit_patch("vit", side) == patch


def test_a_side_that_no_patch_divides_is_an_error():
    with pytest.raises(ValueError, match=r"image_size: got 29 for 'vit_tiny_patch16_224', expected a side"):
        on_meta("vit_tiny_patch16_224", image_size=29)


def test_vit_and_convnext_take_smaller_patches():
    vit = on_meta("vit_tiny_patch16_224", image_size=28)
    assert vit.spec.options == {"img_size": 28, "patch_size": 4, "stem": "small"}
    assert vit.body.pos_embed.shape[1] == 1 + 7 * 7
    assert on_meta("convnext_atto", image_size=32).spec.options["patch_size"] == 1
    assert on_meta("convnext_atto", image_size=64).spec.options["patch_size"] == 2


@pytest.mark.parametrize(
    ("name", "smallest"), [("alexnet", 63), ("vgg11", 32), ("inception_v3", 75), ("vit_tiny_patch16_224", 224)]
)
def test_the_smallest_input_is_found(name, smallest):
    body = on_meta(name).body
    assert smallest_input(body, 1) == smallest
    assert runs(body, 1, smallest)
    assert not runs(body, 1, smallest - 1)


def test_images_that_are_too_small_are_an_error_that_names_the_smallest():
    with pytest.raises(
        ValueError, match=r"image_size: got 28, expected at least 63 pixels for 'alexnet'.*input_size=63"
    ):
        on_meta("alexnet", image_size=28)
    with pytest.raises(ValueError, match=r"input_size: got 74, expected at least 75 pixels for 'inception_v3'"):
        on_meta("inception_v3", image_size=28, input_size=74)
    with pytest.raises(
        ValueError, match=r"image_size: got 100, expected exactly 224 pixels for 'vit_tiny_patch16_224'"
    ):
        on_meta("vit_tiny_patch16_224", image_size=100)


def test_the_check_touches_no_weight_and_no_running_mean():
    body = create_network("resnet10t", num_classes=3).body
    before = {name: value.clone() for name, value in body.state_dict().items()}
    assert runs(body, 3, 32)
    assert all(torch.equal(value, before[name]) for name, value in body.state_dict().items())
    assert next(body.parameters()).device.type == "cpu"
