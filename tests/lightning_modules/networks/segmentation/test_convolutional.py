"""A classifier turned convolutional: at 1×1 output what the classifier gives."""

import copy
import pickle

import pytest
import torch
from torch import nn

from lightning_modules.networks import create_network
from lightning_modules.networks.segmentation.convolutional import convolutionize

POOLED = {
    # side of the images whose last map has one pixel; ours, torchvision's, timm's
    "resnet8": 4,
    "wrn_16_1": 4,
    "torchvision/resnet18": 32,
    "torchvision/squeezenet1_1": 24,
    "resnet10t": 32,
    "convnext_atto": 32,
    "mobilenetv3_small_050": 32,
}


def classifier(name, **options):
    torch.manual_seed(0)
    body = create_network(name, num_classes=7, **options).body.eval()
    for module in body.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return body


@pytest.mark.parametrize("name", POOLED)
def test_logits_at_one_place_are_the_classifiers(name):
    body = classifier(name)
    images = torch.randn(2, 3, POOLED[name], POOLED[name])
    with torch.no_grad():
        expected = body(images)
        dense = convolutionize(body).eval()(images)
    assert dense.shape == (2, 7, 1, 1)
    torch.testing.assert_close(dense[..., 0, 0], expected)


@pytest.mark.parametrize("name", ["torchvision/vgg11", "alexnet"])
def test_linear_layers_after_a_larger_map_become_convolutions_as_large(name):
    """Three linear layers after a map of 7×7 pixels, in AlexNet of 6×6; narrow ones, to draw fewer weights."""
    with torch.device("meta"):
        body = create_network(name, num_classes=7).body.eval()
        linear = [key for key, layer in body.named_modules() if isinstance(layer, nn.Linear)]
        widths = [body.get_submodule(linear[0]).in_features, 16, 16, 7]
        for key, inputs, outputs in zip(linear, widths[:-1], widths[1:], strict=True):
            body.set_submodule(key, nn.Linear(inputs, outputs))
    for parameter in body.to_empty(device="cpu").parameters():
        nn.init.normal_(parameter, std=0.03)
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = body(images)
        dense = convolutionize(body).eval()(images)
    assert dense.shape == (1, 7, 1, 1)
    torch.testing.assert_close(dense[..., 0, 0], expected)


def test_a_map_of_several_pixels_has_the_mean_of_its_logits_as_the_classifiers():
    """A linear layer of a mean is the mean of what it gives."""
    body = classifier("resnet8")
    images = torch.randn(2, 3, 20, 28)
    with torch.no_grad():
        expected = body(images)
        dense = convolutionize(body).eval()(images)
    assert dense.shape == (2, 7, 5, 7)
    torch.testing.assert_close(dense.mean(dim=(2, 3)), expected)


def test_dropout_stays_and_acts_in_training_alone():
    body = classifier("resnet10t", drop_rate=0.5)
    dense = convolutionize(body)
    images = torch.randn(2, 3, 32, 32)
    assert {module.p for module in dense.modules() if isinstance(module, nn.Dropout)} == {0.5}
    dense.eval()
    assert torch.equal(dense(images), dense(images))
    for module in dense.train().modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    assert not torch.equal(dense(images), dense(images))


def test_it_can_be_copied_and_pickled():
    dense = convolutionize(classifier("resnet8")).eval()
    images = torch.randn(1, 3, 16, 16)
    assert torch.equal(copy.deepcopy(dense)(images), dense(images))
    assert torch.equal(pickle.loads(pickle.dumps(dense))(images), dense(images))


@pytest.mark.parametrize(
    ("name", "reason"), [("lenet5", "can be traced"), ("vit_tiny_patch16_224", "takes images of any size")]
)
def test_what_cannot_be_turned_is_refused(name, reason):
    with torch.device("meta"):
        body = create_network(name, num_classes=3).body
    with pytest.raises(ValueError, match=rf"encoder: got \w+, expected a convolutional network .*{reason}"):
        convolutionize(body)


def test_a_head_that_is_no_chain_of_linear_layers_is_refused():
    body = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 2)
    )
    with pytest.raises(ValueError, match="encoder: got Sequential, expected a network that linear layers end"):
        convolutionize(body)
