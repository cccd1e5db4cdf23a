"""Weights from files: what fits, what is adapted and said, what is refused."""

import os
import re
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch import Tensor

from lightning_modules.checkpoints import AtomicCheckpointIO, load_network, rebuild
from lightning_modules.classification import ClassificationModule
from lightning_modules.networks import Network, create_network
from lightning_modules.weights import load_weights, read_weights


def create(num_classes: int = 3, num_channels: int = 3, seed: int = 0, name: str = "cnn_tiny") -> Network:
    torch.manual_seed(seed)
    return create_network(name, num_classes=num_classes, num_channels=num_channels)


def write_checkpoint(network: Network, path: Path) -> Path:
    module = ClassificationModule(network, network.spec.num_classes)
    checkpoint = {"state_dict": module.state_dict(), "epoch": 3}
    module.on_save_checkpoint(checkpoint)
    AtomicCheckpointIO().save_checkpoint(checkpoint, path)
    return path


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


WRITERS = {
    "body.pth": lambda network, path: torch.save(network.body.state_dict(), path),
    "before_zip.pth": lambda network, path: torch.save(
        network.body.state_dict(), path, _use_new_zipfile_serialization=False
    ),
    "ours.pt": lambda network, path: torch.save(network.state_dict(), path),
    "module.pth": lambda network, path: torch.save(prefixed("module.", network.body.state_dict()), path),
    "nested.pth": lambda network, path: torch.save({"epoch": 1, "state_dict": network.body.state_dict()}, path),
    "model.pth": lambda network, path: torch.save(
        {"model": prefixed("module.network.body.", network.body.state_dict()), "optimizer": {"lr": 1.0}}, path
    ),
    "compiled.pth": lambda network, path: torch.save(
        prefixed("module._orig_mod.", {n.replace(".", "._orig_mod.", 1): v for n, v in network.state_dict().items()}),
        path,
    ),
    "body.safetensors": lambda network, path: safetensors.torch.save_file(network.body.state_dict(), path),
    "best.ckpt": write_checkpoint,
}


def test_a_head_with_scores_of_a_blocks_pixels_is_replaced_too(tmp_path):
    options = {"width": 4, "depth": 1, "output_stride": 2, "output_upsampling": "pixel_shuffle"}
    trained, network = (create_network("unet", num_classes=number, num_channels=1, **options) for number in (5, 3))
    torch.save(trained.body.state_dict(), tmp_path / "five.pth")
    notes = load_weights(network, read_weights(tmp_path / "five.pth"))
    assert notes == ["the head of 5 classes in the checkpoint is replaced by a new one of 3"]
    after = network.body.state_dict()
    assert after["folded.classifier.weight"].shape[0] == 12
    assert all(torch.equal(after[k], v) for k, v in trained.body.state_dict().items() if "classifier" not in k)


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_logits(tmp_path, name):
    trained, network = create(seed=1).eval(), create(seed=2).eval()
    WRITERS[name](trained, tmp_path / name)
    file = read_weights(tmp_path / name)
    assert (file.spec is not None) == (name == "best.ckpt")
    assert load_weights(network, file, exact=True) == []
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(network(images), trained(images))


@pytest.mark.parametrize(
    ("name", "classifiers"), [("cnn_tiny", ["classifier"]), ("googlenet", ["fc", "aux1.fc2", "aux2.fc2"])]
)
def test_a_head_of_other_classes_is_replaced_and_said(tmp_path, name, classifiers):
    trained, network, initial = (create(num_classes, name=name) for num_classes in (5, 3, 3))
    torch.manual_seed(9)
    torch.nn.utils.vector_to_parameters(torch.rand(sum(p.numel() for p in trained.parameters())), trained.parameters())
    torch.save(trained.body.state_dict(), tmp_path / "five.pth")
    notes = load_weights(network, read_weights(tmp_path / "five.pth"))
    assert notes == ["the head of 5 classes in the checkpoint is replaced by a new one of 3"]
    before, after = initial.body.state_dict(), network.body.state_dict()
    for key, value in trained.body.state_dict().items():
        is_new = key.startswith(tuple(classifiers))
        assert torch.equal(after[key], before[key] if is_new else value), key
    with pytest.raises(ValueError, match=r"five\.pth: .* has shape \(5, .*expected \(3, "):
        load_weights(network, read_weights(tmp_path / "five.pth"), exact=True)


@pytest.mark.parametrize(("given", "wanted"), [(3, 1), (1, 3)])
def test_the_first_convolution_is_adapted_to_other_channels(tmp_path, given, wanted):
    trained, network = create(num_channels=given, seed=1).eval(), create(num_channels=wanted, seed=2).eval()
    torch.save(trained.state_dict(), tmp_path / "x.pth")
    notes = load_weights(network, read_weights(tmp_path / "x.pth"))
    assert notes == [f"the first convolution of {given} channels in the checkpoint is adapted to {wanted}"]
    grey = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(
        network(grey.expand(-1, wanted, -1, -1)), trained(grey.expand(-1, given, -1, -1)), rtol=1e-4, atol=1e-5
    )


def test_counters_of_batches_may_be_missing(tmp_path):
    trained, network = create(seed=1), create(seed=2)
    state = {name: value for name, value in trained.state_dict().items() if "num_batches" not in name}
    torch.save(state, tmp_path / "old.pth")
    assert load_weights(network, read_weights(tmp_path / "old.pth")) == []


@pytest.mark.parametrize(
    ("change", "ignore_keys", "message"),
    [
        (lambda s: s.pop("classifier.bias"), ["classifier.bias"], "but it lacks classifier.bias; choose the network"),
        (lambda s: s.update(extra=torch.zeros(1)), ["extra"], "but it has besides extra; .* in ignore_keys"),
        (
            lambda s: s.update({f"ema.{n}": torch.zeros(1) for n in range(9)}),
            ["ema."],
            r"it has besides ema\.0, ema\.1, ema\.2, ema\.3 and 5 more",
        ),
    ],
)
def test_other_keys_are_refused_unless_they_are_named(tmp_path, change, ignore_keys, message):
    state = create(seed=1).body.state_dict()
    change(state)
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=rf"checkpoint .*x\.pth: expected the weights of 'cnn_tiny', .*{message}"):
        load_weights(create(), read_weights(tmp_path / "x.pth"))
    network = create()
    load_weights(network, read_weights(tmp_path / "x.pth"), ignore_keys=ignore_keys)
    assert torch.equal(network.body.features[0].weight, state["features.0.weight"])


def test_a_head_that_is_ignored_keeps_its_initial_weights(tmp_path):
    torch.save(create(seed=1).body.state_dict(), tmp_path / "x.pth")
    network, initial = create(seed=2), create(seed=2)
    assert load_weights(network, read_weights(tmp_path / "x.pth"), ignore_keys=["classifier."]) == [
        "2 tensors (classifier.bias, classifier.weight) keep their initial weights: ignore_keys"
    ]
    assert torch.equal(network.body.classifier.weight, initial.body.classifier.weight)


def test_weights_taken_as_they_are_leave_none_initial(tmp_path):
    torch.save(create(seed=1).body.state_dict() | {"ema.x": torch.zeros(1)}, tmp_path / "x.pth")
    file = read_weights(tmp_path / "x.pth")
    assert load_weights(create(), file, ignore_keys=["ema."], exact=True) == []
    with pytest.raises(
        ValueError, match=r"ignore_keys: got \['classifier'\], expected .* surplus keys .*classifier\.b"
    ):
        load_weights(create(), file, ignore_keys=["classifier"], exact=True)
    with pytest.raises(ValueError, match=r"ignore_keys: got \[''\], expected beginnings of keys"):
        load_weights(create(), file, ignore_keys=[""])


def test_another_shape_is_refused(tmp_path):
    state = create(seed=1).body.state_dict()
    state["features.4.weight"] = torch.zeros(22, 8, 5, 5)
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"features\.4\.weight has shape \(22, 8, 5, 5\), expected \(22, 8, 3, 3\)"):
        load_weights(create(), read_weights(tmp_path / "x.pth"))


class Payload:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("name", ["body.pth", "before_zip.pth", "body.safetensors", "best.ckpt"])
@pytest.mark.parametrize(
    "damage", [lambda c: c[: len(c) // 2], lambda c: c[:-9], lambda c: b"garbage" * 40, lambda c: b""]
)
def test_damaged_files_are_named(tmp_path, name, damage):
    WRITERS[name](create(), tmp_path / name)
    (tmp_path / name).write_bytes(damage((tmp_path / name).read_bytes()))
    with pytest.raises(ValueError, match=rf"checkpoint .*{name}: not a complete"):
        read_weights(tmp_path / name)


def test_other_files_are_refused_and_nothing_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"nowhere\.safetensors: there is no such file"):
        read_weights(tmp_path / "nowhere.safetensors")
    for number, is_zip in enumerate((True, False)):
        torch.save({"state_dict": Payload()}, f"{number}.pth", _use_new_zipfile_serialization=is_zip)
        with pytest.raises(ValueError, match=rf"checkpoint {number}\.pth: "):
            read_weights(f"{number}.pth")
    torch.save({"epoch": 3, "lr": 0.1}, "other.pth")
    with pytest.raises(
        ValueError, match=r"other\.pth: expected one of our checkpoints or a state dict.* holds epoch, lr"
    ):
        read_weights("other.pth")
    torch.save([torch.zeros(1)], "list.pth")
    with pytest.raises(ValueError, match=r"list\.pth: expected a dictionary, it holds a list"):
        read_weights("list.pth")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {"image_size": 28, "drop_path_rate": 0.1}),
        ("resnet18", {"image_size": 64, "stem": "standard"}),
        ("resnet20", {"drop_rate": 0.2}),
        ("mobilenet_v3_small", {"image_size": 32, "width_multiplier": 0.5}),
        ("vit_tiny_patch16_224", {"image_size": 28, "depth": 1}),
    ],
)
def test_what_was_decided_travels_in_the_checkpoint(tmp_path, name, options):
    torch.manual_seed(0)
    network = create_network(name, num_classes=3, num_channels=1, **options).eval()
    path = write_checkpoint(network, tmp_path / "best.ckpt")
    images = torch.rand(1, 1, options.get("image_size", 32), options.get("image_size", 32))
    with torch.no_grad():
        expected = network(images)
        assert torch.equal(load_network(path).eval()(images), expected)
        file = read_weights(path)
        again = rebuild(file.spec, image_size=options.get("image_size")).eval()
        assert load_weights(again, file, exact=True) == []
        assert torch.equal(again(images), expected)
    assert again.spec == network.spec


def test_a_network_for_other_channels_takes_the_average_normalisation():
    spec = create_network("cnn_tiny", num_classes=3, num_channels=2, mean=(0.2, 0.4), std=(0.1, 0.3)).spec.as_plain()
    again = rebuild(spec, num_channels=3).spec
    assert (again.mean, again.std) == (pytest.approx((0.3,) * 3), pytest.approx((0.2,) * 3))


def test_a_plain_residual_network_starts_a_deformable_one(tmp_path):
    plain = timm.create_model("resnet18", num_classes=5)
    torch.save(plain.state_dict(), tmp_path / "plain.pth")
    network = create_network("deformable_resnet18", num_classes=5)
    assert load_weights(network, read_weights(tmp_path / "plain.pth")) == []
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(network.body.eval()(images), plain.eval()(images), atol=1e-4, rtol=1e-4)


def test_torchvisions_old_names_in_densenet_are_understood(tmp_path):
    state = torchvision.models.densenet121(num_classes=5).state_dict()
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", key): value for key, value in state.items()}
    torch.save(old, tmp_path / "old.pth")
    network = create_network("densenet121", num_classes=5)
    assert load_weights(network, read_weights(tmp_path / "old.pth")) == []
    name = "features.denseblock1.denselayer1.conv1.weight"
    assert torch.equal(network.body.state_dict()[name], state[name])
