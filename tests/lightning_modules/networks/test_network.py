"""What wraps a network: normalisation, features, auxiliary classifiers and what is exported."""

import pytest
import torch

from lightning_modules.networks import create_network


@pytest.fixture(scope="module")
def googlenet():
    return create_network("googlenet", num_classes=5, num_channels=1, image_size=16, drop_rate=0.0)


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
    maps = network.body.features((images - network.mean) / network.std)
    torch.testing.assert_close(network.features(images), maps.mean(dim=(2, 3)))
