"""Prepared networks say what the networks say, and label as they do."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from datamodules.labeled import LabeledDataModule
from datamodules.pseudo_label_merging import merge_shards
from datamodules.pseudo_label_writer import PseudoLabelWriter
from datamodules.pseudo_labels import TableMetadata
from datamodules.sources import create_source
from datamodules.unlabeled import UnlabeledDataModule
from lightning_modules import inference
from lightning_modules.classification import ClassificationModule
from lightning_modules.fusing import fold_batch_norms
from lightning_modules.inference import Labeler, prepare_for_inference
from lightning_modules.networks import create_network
from lightning_modules.settings import OptimizerSettings
from lightning_modules.teacher import state_digest


def network_of(name, num_channels=3, size=32, **options):
    """Return a network whose batch norms have seen something."""
    network = create_network(name, num_classes=5, num_channels=num_channels, image_size=size, **options)
    return with_statistics(network)


def with_statistics(network):
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.3, 0.3)
    return network


def num_norms(network):
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cnn_small", {}),
        ("timm/resnet18", {"stem": "standard"}),  # ends in maps of 1×1
        ("timm/mobilenetv3_small_050", {"drop_rate": 0.3}),
        ("torchvision/mobilenet_v3_small", {"input_size": 48}),
    ],
)
def test_in_float32_it_says_the_same_without_batch_norms(name, options):
    network = network_of(name, **options).train()
    before = state_digest(network)
    prepared = prepare_for_inference(network, "float32")
    images = torch.rand(7, 3, 32, 32)
    with torch.inference_mode():
        logits = prepared(images)
        assert network.training
        assert state_digest(network) == before
        torch.testing.assert_close(logits, network.eval()(images), atol=1e-4, rtol=1e-4)
    assert num_norms(network) >= 4
    assert num_norms(prepared) == 0
    assert not any(module.training for module in prepared.modules())
    assert not any(parameter.requires_grad for parameter in prepared.parameters())
    assert state_digest(network) == before


def test_auxiliary_classifiers_stay_behind():
    network = network_of("torchvision/googlenet")
    prepared = prepare_for_inference(network, "float32")
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(prepared(images), network.eval()(images), atol=1e-4, rtol=1e-4)
    assert num_norms(prepared) == 0


class Awkward(nn.Module):
    """Asks for the values of its images, which no recorded graph can answer."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Sequential(nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 3))

    def forward(self, images):
        return self.head(self.stem(images) if images.sum() > 0 else self.stem(-images))


class Forked(nn.Module):
    """Its convolution is read twice, once without the batch norm."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.flatten = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten()

    def forward(self, images):
        maps = self.conv(images)
        return self.flatten(maps + self.norm(maps))


class Shared(nn.Module):
    """Its convolution is called twice, with a batch norm for each call."""

    def __init__(self):
        super().__init__()
        self.conv, self.first, self.second = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, images):
        return (self.first(self.conv(images)) + self.second(self.conv(images))).flatten(1)


def without_statistics():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten())


def with_weight_norm():
    return nn.Sequential(weight_norm(nn.Conv2d(1, 4, 3)), nn.BatchNorm2d(4), nn.Flatten())


@pytest.mark.parametrize(
    ("build", "kept"), [(Awkward, 1), (Forked, 1), (Shared, 2), (with_weight_norm, 1), (without_statistics, 1)]
)
def test_what_cannot_be_folded_stays(build, kept):
    network = build()
    images = torch.rand(6, 1, 8, 8)
    if build is not without_statistics:
        with_statistics(network)
    expected = network.eval()(images)
    fold_batch_norms(network)
    assert num_norms(network) == kept
    torch.testing.assert_close(network(images), expected, atol=1e-5, rtol=1e-5)


def test_images_are_normalised_in_float32():
    """A mean of 0.5 and a tiny deviation magnify what bfloat16 would round away before."""
    network = network_of("cnn_tiny", 1, 8, mean=(0.5,), std=(1e-3,))
    seen = []
    prepared = prepare_for_inference(network, "bfloat16")
    prepared.network.body.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = 0.5 + 1e-3 * torch.randn(4, 1, 8, 8)
    with torch.inference_mode():
        logits = prepared(images)
        expected = network.eval()(images)
    assert torch.equal(seen[0][:4], network.normalize(images))
    assert logits.dtype == torch.float32
    assert 0 < float((logits - expected).abs().max()) < 0.02 * float(expected.abs().max())


@pytest.fixture(scope="module")
def digits():
    return LabeledDataModule(create_source("digits"), batch_size=64, labels_per_class=60, eval_batch_size=100)


@pytest.fixture(scope="module")
def trained(digits, tmp_path_factory):
    """Return a network that has learned the digits a little."""
    from lightning import Trainer

    torch.manual_seed(0)
    network = create_network("cnn_small", num_classes=10, num_channels=1, mean=digits.source.mean, std=(0.38,))
    Trainer(
        accelerator="cpu",
        max_epochs=6,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path_factory.mktemp("trained"),
    ).fit(ClassificationModule(network, 10, optimizer=OptimizerSettings(lr=0.005)), digits)
    return network.eval()


def test_labels_in_bfloat16_are_those_of_float32(digits, trained):
    images = digits.pool.images(torch.arange(len(digits.pool))).float() / 255
    with torch.inference_mode():
        expected = trained(images).argmax(dim=1)
        labels = prepare_for_inference(trained, "bfloat16")(images).argmax(dim=1)
    assert float((expected == digits.pool.targets).double().mean()) > 0.9
    assert float((labels == expected).double().mean()) >= 0.995


def labelled(labeler, data, path, trainer_of):
    writer = PseudoLabelWriter(path, TableMetadata("ab" * 32, "digits", data.labeled.source.class_names))
    trainer_of(callbacks=[writer]).predict(labeler, data, return_predictions=False)
    return merge_shards(writer.shards, path, data.pool)


def test_the_labeler_writes_the_networks_probabilities(digits, trained, make_trainer, tmp_path):
    data = UnlabeledDataModule(digits)
    images = data.pool.images(data.pool.ids.argsort()).float() / 255
    table = labelled(Labeler(trained, precision="float32"), data, tmp_path / "plain.parquet", make_trainer)
    with torch.inference_mode():
        straight, mirrored = (trained(views).softmax(dim=1) for views in (images, images.flip(-1)))
    torch.testing.assert_close(table.probabilities, straight, atol=1e-5, rtol=1e-4)
    table = labelled(Labeler(trained, precision="float32", flip=True), data, tmp_path / "flip.parquet", make_trainer)
    torch.testing.assert_close(table.probabilities, (straight + mirrored) / 2, atol=1e-5, rtol=1e-4)
    assert num_norms(trained) > 0


@pytest.mark.parametrize(("name", "stem"), [("cnn_small", "auto"), ("timm/resnet18", "standard")])
def test_an_image_has_the_same_bits_in_any_batch_and_place(name, stem):
    prepared = prepare_for_inference(network_of(name, 1, 28, stem=stem), "float32")
    images = torch.rand(80, 1, 28, 28)
    order = torch.randperm(80)
    with torch.inference_mode():
        logits = prepared(images)
        assert torch.equal(prepared(images[order]), logits[order])
        for number in (1, 5, 17, 70):  # the last batch of a pool may be of any size
            assert torch.equal(prepared(images[:number]), logits[:number])


@pytest.mark.parametrize(("precision", "sizes"), [("bfloat16", [128, 128, 64]), ("float32", [300])])
def test_large_batches_are_split_in_bfloat16(precision, sizes):
    prepared = prepare_for_inference(create_network("cnn_tiny", num_classes=5, num_channels=1), precision)
    seen = []
    prepared.network.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    images = torch.rand(300, 1, 16, 16)
    with torch.inference_mode():
        logits = prepared(images)
        assert seen == sizes  # the last 44 are filled up
        torch.testing.assert_close(logits[290:], prepared(images[290:]))
    assert logits.shape == (300, 5)


@pytest.mark.parametrize(("name", "expected"), [("unet", 3), ("cnn_tiny", 64)])
def test_only_batches_of_classifiers_are_filled_up(name, expected):
    options = {"width": 2, "depth": 1} if name == "unet" else {}
    prepared = prepare_for_inference(create_network(name, num_classes=5, num_channels=1, **options), "float32")
    seen = []
    prepared.network.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    images = torch.rand(3, 1, 32, 32)
    with torch.inference_mode():
        assert len(prepared(images)) == 3
    assert seen == [expected]


def test_a_mirrored_map_is_mirrored_back():
    network = nn.Conv2d(1, 3, (1, 3), padding=(0, 1))
    batch = (torch.rand(2, 1, 4, 6), None)
    straight = network(batch[0]).softmax(dim=1)
    mirrored = network(batch[0].flip(-1)).softmax(dim=1).flip(-1)
    assert not torch.allclose(straight, mirrored)
    torch.testing.assert_close(Labeler(network, flip=True).predict_step(batch, 0), (straight + mirrored) / 2)


def test_the_labeler_prepares_its_network_once(make_trainer, digits, trained):
    labeler, data = Labeler(trained), UnlabeledDataModule(digits)
    trainer = make_trainer()
    trainer.predict(labeler, data)
    prepared = labeler.network
    trainer.predict(labeler, data)
    assert labeler.network is prepared
    assert num_norms(prepared) == 0


@pytest.mark.parametrize("has_tiles", [True, False])
def test_bfloat16_is_chosen_where_it_is_fast(monkeypatch, has_tiles):
    monkeypatch.setattr(inference, "prefers_bfloat16", lambda device: has_tiles)
    network = network_of("cnn_tiny", 1, 8)
    for precision, dtype in (("auto", has_tiles), ("float32", False), ("bfloat16", True)):
        prepared = prepare_for_inference(network, precision)
        assert (prepared.dtype == torch.bfloat16) == dtype
        assert (prepared.network.body.classifier.weight.dtype == torch.bfloat16) == dtype


def test_other_precisions_are_refused():
    with pytest.raises(ValueError, match="precision: got 'int8', expected one of auto, float32, bfloat16"):
        prepare_for_inference(nn.Flatten(), "int8")
