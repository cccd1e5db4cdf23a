"""Checkpoint files: whole or not at all, and nothing in them is executed."""

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from lightning_modules.checkpoints import AtomicCheckpointIO, load_checkpoint, load_network
from lightning_modules.classification import ClassificationModule
from lightning_modules.networks import create_network


def write_network(path: Path, num_classes: int = 3) -> ClassificationModule:
    network = create_network("cnn_tiny", num_classes=num_classes, num_channels=1, mean=(0.3,), std=(0.2,))
    module = ClassificationModule(network, num_classes)
    checkpoint = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    AtomicCheckpointIO().save_checkpoint(checkpoint, path)
    return module


def test_a_network_comes_back_with_its_normalisation(tmp_path):
    module = write_network(tmp_path / "best.ckpt").eval()
    loaded = load_network(tmp_path / "best.ckpt").eval()
    images = torch.rand(2, 1, 8, 8)
    assert torch.equal(loaded(images), module(images))
    assert loaded.spec == module.network.spec


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"checkpoint .*nowhere\.ckpt: there is no such file"):
        load_network(tmp_path / "nowhere.ckpt")


def test_a_truncated_file_is_named(tmp_path):
    path = tmp_path / "best.ckpt"
    write_network(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"checkpoint .*best\.ckpt: not a complete PyTorch checkpoint"):
        load_network(path)


def test_a_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "best.ckpt"
    module = write_network(path)
    weights = module.network.body.features[0].weight.detach().numpy().tobytes()
    content = bytearray(path.read_bytes())
    content[content.index(weights) + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"checkpoint .*best\.ckpt: damaged, the checksum"):
        load_network(path)


class Payload:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_nothing_of_a_foreign_file_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Payload()}, tmp_path / "foreign.ckpt")
    with pytest.raises(ValueError, match=r"checkpoint .*foreign\.ckpt: holds more than tensors"):
        load_network(tmp_path / "foreign.ckpt")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(ValueError, match=r"checkpoint .*plain\.pkl: not a complete PyTorch checkpoint"):
        load_network(tmp_path / "plain.pkl")
    assert not (tmp_path / "executed").exists()


def test_a_checkpoint_of_another_project_is_refused(tmp_path):
    torch.save({"epoch": 3, "model": {"weight": torch.zeros(3)}}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth: expected one that this project wrote.* it holds epoch, model"):
        load_network(tmp_path / "other.pth")
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(ValueError, match=r"images\.zip: holds more than tensors .* or is of another kind"):
        load_network(tmp_path / "images.zip")


def test_weights_that_do_not_fit_are_refused(tmp_path):
    write_network(tmp_path / "best.ckpt", num_classes=3)
    other = create_network("cnn_tiny", num_classes=5, num_channels=1)
    with pytest.raises(ValueError, match=r"best\.ckpt: its weights do not fit the network"):
        load_network(tmp_path / "best.ckpt", other)


def test_a_network_from_elsewhere_must_be_handed_in(tmp_path):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    module = ClassificationModule(network, 3)
    checkpoint = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    AtomicCheckpointIO().save_checkpoint(checkpoint, tmp_path / "best.ckpt")
    with pytest.raises(ValueError, match=r"load_network\(path, network\)"):
        load_network(tmp_path / "best.ckpt")
    fresh = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    assert torch.equal(load_network(tmp_path / "best.ckpt", fresh)[1].weight, network[1].weight)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, path)

    def fail(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        AtomicCheckpointIO().save_checkpoint({"epoch": 2}, path)
    assert load_checkpoint(path) == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]
