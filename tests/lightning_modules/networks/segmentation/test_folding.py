"""A folded network sees blocks of pixels as channels, and loses no pixel and no size."""

import dataclasses

import pytest
import torch
from torch import nn

from lightning_modules.checkpoints import rebuild
from lightning_modules.networks import create_network
from lightning_modules.networks.layers import layer_groups
from lightning_modules.networks.segmentation.folding import Folded


def build(name: str = "unet", **options):
    torch.manual_seed(0)
    defaults = {"width": 4, "depth": 2} if name == "unet" and "encoder" not in options else {}
    return create_network(name, num_classes=3, **(defaults | options))


class MeanOfBlocks(nn.Module):
    """Two classes: the mean of a block's pixels, and its first pixel."""

    def forward(self, blocks: torch.Tensor) -> torch.Tensor:
        return torch.stack((blocks.mean(dim=1), blocks[:, 0]), dim=1)


def test_blocks_are_channels_and_logits_are_enlarged_bilinearly():
    images = torch.tensor([[[[1.0, 3, 9, 9], [5, 7, 9, 9]]]])
    logits = Folded(MeanOfBlocks(), 2)(images)
    # The means of the two blocks are 4 and 9: between their centres a quarter and three quarters of the way.
    assert logits[0, 0].tolist() == [[4, 5.25, 7.75, 9]] * 2
    assert logits[0, 1].tolist() == [[1, 3, 7, 9]] * 2


class PixelsAndTheirNegatives(nn.Module):
    """Two classes: scores of a block are its pixels, and what they lack to ten."""

    def forward(self, blocks: torch.Tensor) -> torch.Tensor:
        return torch.cat((blocks, 10 - blocks), dim=1)


def test_blocks_are_channels_and_scores_are_logits_of_their_pixels():
    images = torch.rand(2, 1, 6, 4)
    logits = Folded(PixelsAndTheirNegatives(), 2, "pixel_shuffle")(images)
    assert torch.equal(logits, torch.cat((images, 10 - images), dim=1))


@pytest.mark.parametrize(("upsampling", "num_scores"), [("bilinear", 3), ("pixel_shuffle", 12)])
def test_a_network_by_name_has_scores_of_blocks_or_of_their_pixels(upsampling, num_scores):
    network = build(output_stride=2, output_upsampling=upsampling)
    assert network.body.folded.get_classifier().out_channels == num_scores
    assert network.body.scores_per_class * 3 == num_scores
    again = rebuild(dataclasses.asdict(network.spec))
    assert again.body.upsampling == upsampling


@pytest.mark.parametrize("stride", [2, 3, 4])
@pytest.mark.parametrize("name", ["unet", "fcn8s"])
@pytest.mark.parametrize("upsampling", ["bilinear", "pixel_shuffle"])
def test_logits_have_the_images_size_and_every_pixel_counts(name, stride, upsampling):
    options = {"output_stride": stride, "output_upsampling": upsampling}
    network = build(name, **options, **({"encoder": "resnet8"} if name == "fcn8s" else {})).eval()
    for size in ((16, 16), (17, 23), (30, 21), (1, 50)):
        images = torch.rand(1, 3, *size)
        logits = network(images)
        assert logits.shape == (1, 3, *size)
        changed = images.clone()
        changed[..., -1, -1] += 5
        assert not torch.equal(network(changed)[..., -1, -1], logits[..., -1, -1])


def test_its_layers_are_those_of_its_network():
    plain, folded = build(encoder="resnet8"), build(encoder="resnet8", output_stride=2)
    names = [[name.replace("body.folded.", "body.") for name in group] for group in layer_groups(folded)]
    assert names == layer_groups(plain)
    assert len(names) > 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_stride": 0}, r"output_stride: got 0, expected a whole number of at least 1"),
        ({"output_stride": 1.5}, r"output_stride: got 1.5"),
        (
            {"output_stride": 2, "output_upsampling": "cubic"},
            r"output_upsampling: got 'cubic', expected one of bilinear, pixel_shuffle",
        ),
        ({"output_stride": 2, "pretrained": True, "encoder": "torchvision/resnet18"}, r"pretrained: got True with"),
    ],
)
def test_strides_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)
