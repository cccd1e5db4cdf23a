"""What wraps a network: normalisation, features, auxiliary classifiers and what is exported."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_modules.networks import Network, NetworkSpec, create_network
from lightning_modules.networks.shapes import ShapesOnly


@pytest.fixture(scope="module")
def googlenet():
    return create_network("googlenet", num_classes=5, num_channels=1, image_size=16, drop_rate=0.0)


def test_a_network_normalises_its_images_itself():
    network = create_network("cnn_tiny", num_classes=4, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)).eval()
    images = torch.rand(2, 3, 8, 8)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7)))
    before = images.clone()
    torch.testing.assert_close(network(images), network.body((images - mean) / std))
    assert torch.equal(images, before)


def test_a_network_resizes_if_asked():
    network = create_network("cnn_tiny", num_classes=4, num_channels=1, input_size=16).eval()
    sizes = []
    network.body.register_forward_pre_hook(lambda module, inputs: sizes.append(inputs[0].shape[-2:]))
    network(torch.rand(2, 1, 9, 12))
    assert sizes == [(16, 16)]


def test_forward_gives_logits_in_training_too(googlenet):
    images = torch.rand(2, 1, 16, 16)
    logits, auxiliary = googlenet.train().forward_with_auxiliary(images)
    assert googlenet(images).shape == logits.shape == (2, 5)
    assert [logits.shape for logits in auxiliary] == [(2, 5), (2, 5)]


def test_evaluation_never_asks_the_auxiliary_classifiers(googlenet):
    def refuse(*_):
        raise AssertionError("an auxiliary classifier was called")

    hooks = [getattr(googlenet.body, name).register_forward_pre_hook(refuse) for name in ("aux1", "aux2")]
    logits, auxiliary = googlenet.eval().forward_with_auxiliary(torch.rand(2, 1, 16, 16))
    assert logits.shape == (2, 5)
    assert auxiliary == ()
    with pytest.raises(AssertionError, match="was called"):
        googlenet.train()(torch.rand(2, 1, 16, 16))
    for hook in hooks:
        hook.remove()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_what_is_exported_has_no_auxiliary_classifier_and_the_same_logits(googlenet):
    images = torch.rand(2, 1, 16, 16)
    bare = googlenet.without_auxiliary()
    program = torch.export.export(bare, (images,))
    assert not [name for name in program.state_dict if "aux" in name]
    assert len(program.state_dict) < len(googlenet.state_dict())
    torch.testing.assert_close(program.module()(images), googlenet.eval()(images))
    assert googlenet.body.aux1 is not None
    assert bare.train()(images).shape == (2, 5)


@pytest.mark.parametrize(
    ("name", "width", "head"),
    [("cnn_tiny", 22, "classifier"), ("resnet10t", 512, "fc"), ("mobilenet_v2", 1280, "classifier.1")],
)
def test_features_are_what_the_classifier_reads(name, width, head):
    network = create_network(name, num_classes=4, num_channels=1, image_size=16).eval()
    images = torch.rand(3, 1, 16, 16)
    features = network.features(images)
    assert features.shape == (3, width)
    torch.testing.assert_close(network.body.get_submodule(head)(features), network(images))


def test_features_of_a_convolutional_classifier_are_averaged_over_pixels():
    network = create_network("torchvision/squeezenet1_1", num_classes=4, image_size=64).eval()
    images = torch.rand(2, 3, 64, 64)
    maps = network.body.features(network.normalize(images))
    torch.testing.assert_close(network.features(images), maps.mean(dim=(2, 3)))


def test_features_have_the_width_of_the_last_layers_inputs():
    with torch.device("meta"), torch.no_grad(), ShapesOnly():
        network = create_network("caformer_s18", num_classes=7).eval()
        assert network.features(torch.rand(2, 3, 64, 64)).shape == (2, 2048)


def test_features_of_maps_with_channels_last():
    network = create_network("sequencer2d_s", num_classes=7, layers=(1, 1, 1, 1)).eval()
    images = torch.rand(2, 3, 32, 32)
    features = network.features(images)
    assert features.shape == (2, 384)
    torch.testing.assert_close(network.body.head.fc(features), network(images))


class Unusual(nn.Module):
    """Reads its classifier in its own way: never by a call, or on maps with channels last."""

    def __init__(self, calls: bool) -> None:
        super().__init__()
        self.classifier = nn.Linear(3, 7)
        self.calls = calls

    def forward(self, images):
        if self.calls:
            return self.classifier(images.movedim(1, -1)).mean(dim=(1, 2))
        return F.linear(images.mean(dim=(2, 3)), self.classifier.weight, self.classifier.bias)


def test_features_that_the_head_does_not_read_are_an_error():
    spec = NetworkSpec("unusual", num_classes=7, num_channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)
    images = torch.rand(2, 3, 8, 9)
    torch.testing.assert_close(Network(Unusual(calls=True), spec).features(images), images.mean(dim=(2, 3)))
    with pytest.raises(ValueError, match=r"features of shape \(2, 0\) at 'classifier' of 'unusual', expected \(2, 3\)"):
        Network(Unusual(calls=False), spec).features(images)


def test_what_the_body_exempts_from_weight_decay_has_the_wrappers_names():
    with torch.device("meta"), ShapesOnly():
        network = create_network("vit_tiny_patch16_224", num_classes=7, depth=1)
    assert {"body.cls_token", "body.pos_embed"} <= network.no_weight_decay() & dict(network.named_parameters()).keys()
    assert create_network("cnn_tiny", num_classes=7).no_weight_decay() == set()
