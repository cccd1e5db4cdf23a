"""The published formats: known values, and what is said of files that are missing or damaged."""

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.sources import create_source, mnist
from datamodules.sources.source import PixelArray

from .layouts import CIFAR10_NAMES, NUM_TEST, NUM_TRAIN, NUM_UNLABELED, random_pixels, write_idx, write_idx_files

ALL = torch.arange(NUM_TRAIN)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_mnist_pixels_lie_where_they_were_written(name, make_source):
    source = make_source(name)
    assert torch.equal(source.train.images(ALL).squeeze(1), torch.from_numpy(random_pixels(0, NUM_TRAIN, 28, 28)))
    assert source.train.targets[:12].tolist() == [*range(10), 0, 1]
    assert source.test.ids.tolist() == list(range(NUM_TRAIN, NUM_TRAIN + NUM_TEST))


def test_fashion_classes_are_those_of_the_publication():
    from torchvision.datasets import FashionMNIST

    assert list(mnist.FASHION_CLASSES) == FashionMNIST.classes


def test_fashion_mnist_is_found_where_debian_has_it(tmp_path, monkeypatch):
    write_idx_files(tmp_path / "debian", suffix=".gz")
    monkeypatch.setattr(mnist, "DEBIAN_FASHION_MNIST", tmp_path / "debian")
    assert len(create_source("fashion_mnist", root=tmp_path / "empty").train) == NUM_TRAIN


@pytest.mark.skipif(not mnist.DEBIAN_FASHION_MNIST.exists(), reason="needs Debian's dataset-fashion-mnist")
def test_the_published_fashion_mnist():
    source = create_source("fashion_mnist")
    assert (len(source.train), len(source.test)) == (60_000, 10_000)
    assert source.train.targets.bincount().tolist() == [6_000] * 10
    assert source.train.targets[:3].tolist() == [9, 0, 0]
    assert (source.mean, source.std) == (pytest.approx((0.2860,), abs=2e-3), pytest.approx((0.3530,), abs=2e-3))


def test_cifar10_reads_the_batches_in_order(make_source):
    source = make_source("cifar10")
    third = torch.from_numpy(random_pixels(3, NUM_TRAIN // 3, 3, 32, 32))
    assert torch.equal(source.train.images(torch.arange(20, 30)), third)
    assert source.class_names == tuple(CIFAR10_NAMES)
    assert source.train.targets[20:30].tolist() == list(range(10))


def test_cifar100_has_fine_labels(make_source):
    source = make_source("cifar100")
    assert source.train.targets[:101].tolist() == [*range(100), 0]
    assert torch.equal(source.test.images(ALL), torch.from_numpy(random_pixels(2, 100, 3, 32, 32))[:NUM_TRAIN])


def test_svhn_label_ten_is_the_digit_zero(make_source):
    source = make_source("svhn")
    assert source.train.targets[:10].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    written = torch.from_numpy(random_pixels(0, 32, 32, 3, NUM_TRAIN))
    assert torch.equal(source.train.images(torch.tensor([4]))[0, 2], written[:, :, 2, 4])


def test_stl10_columns_become_rows(make_source):
    source = make_source("stl10")
    written = torch.from_numpy(random_pixels(0, NUM_TRAIN, 3, 96, 96))
    assert torch.equal(source.train.images(ALL), written.transpose(2, 3))
    assert source.train.targets[:10].tolist() == list(range(10))
    assert source.class_names[7] == "monkey"
    assert source.unlabeled.ids.tolist() == list(range(50, 50 + NUM_UNLABELED))


def test_stl10_agrees_with_torchvision(make_source, tmp_path, monkeypatch):
    from torchvision.datasets import STL10

    source = make_source("stl10")
    monkeypatch.setattr(STL10, "_check_integrity", lambda self: True)
    dataset = STL10(str(tmp_path / "stl10"), split="test")
    assert np.array_equal(source.test.images(torch.arange(NUM_TEST)).numpy(), dataset.data)
    assert source.test.targets.tolist() == dataset.labels.tolist()


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100", "svhn", "stl10"])
def test_missing_files_are_told_with_the_place_and_the_remedy(name, tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "DEBIAN_FASHION_MNIST", tmp_path / "nowhere")
    with pytest.raises(ValueError, match=rf"--data.source {name}: .* --data.root, .* --data.download true") as error:
        create_source(name, root=tmp_path)
    assert str(tmp_path) in str(error.value)
    assert ("apt-get install dataset-fashion-mnist" in str(error.value)) == (name == "fashion_mnist")


def test_a_failed_checksum_is_told(tmp_path):
    (tmp_path / "train_32x32.mat").write_bytes(b"not the published file")
    with pytest.raises(ValueError, match=r"--data.source svhn: .*not whole.*corrupted"):
        create_source("svhn", root=tmp_path)


def test_a_download_out_of_reach_is_told(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.datasets.svhn.download_url", refuse)
    with pytest.raises(ValueError, match=r"--data.source svhn: .*no route to host"):
        create_source("svhn", root=tmp_path, download=True)


def damage_mnist(folder: Path, case: str) -> None:
    images = folder / "train-images-idx3-ubyte.gz"
    if case == "cut off":
        images.write_bytes(images.read_bytes()[:-2000])
    elif case == "no idx":
        images.unlink()
        (folder / "train-images-idx3-ubyte").write_bytes(b"<html>404</html>")
    elif case == "short":
        write_idx(folder / "train-images-idx3-ubyte", random_pixels(0, 2, 28, 28))
        plain = folder / "train-images-idx3-ubyte"
        plain.write_bytes(plain.read_bytes()[:-1])
    else:
        write_idx(folder / "train-labels-idx1-ubyte.gz", np.full(3, 4, dtype=np.uint8))


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("cut off", "train-images-idx3-ubyte.gz is no whole IDX file: its compression is broken"),
        ("no idx", "train-images-idx3-ubyte is no whole IDX file: it begins with '3c68746d'"),
        ("short", r"it holds 1567 values, its header says \(2, 28, 28\)"),
        ("labels", "mnist, train: 30 images and 3 labels, expected as many of both"),
    ],
)
def test_damaged_mnist_files_are_named(case, text, make_source, tmp_path):
    make_source("mnist")
    damage_mnist(tmp_path / "mnist" / "MNIST" / "raw", case)
    with pytest.raises(ValueError, match=text):
        make_source("mnist")


def test_a_label_out_of_range_is_refused(make_source, tmp_path):
    make_source("stl10")
    labels = tmp_path / "stl10" / "stl10_binary" / "train_y.bin"
    labels.write_bytes(bytes([11]) * NUM_TRAIN)
    with pytest.raises(ValueError, match=r"stl10, train: .* labels in 0..9; the files are damaged"):
        make_source("stl10")


def test_a_cut_off_stl10_file_is_named(make_source, tmp_path):
    make_source("stl10")
    pool = tmp_path / "stl10" / "stl10_binary" / "unlabeled_X.bin"
    pool.write_bytes(pool.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"unlabeled_X.bin has 193535 bytes, expected a multiple of 27648"):
        make_source("stl10")


def private_megabytes(reader: PixelArray, queue) -> None:
    def private() -> int:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Private"))

    torch.set_num_threads(1)  # as loaders do: a forked process has none of the parent's threads
    before = private()
    for rows in torch.arange(len(reader.pixels)).split(64):
        reader(rows, None)
    queue.put((private() - before) / 1024)


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux")
def test_a_forked_worker_holds_no_copy_of_the_pixels():
    reader = PixelArray(torch.ones(64 * 1024, 1, 32, 32, dtype=torch.uint8))
    fork = multiprocessing.get_context("fork")
    queue = fork.Queue()
    worker = fork.Process(target=private_megabytes, args=(reader, queue))
    worker.start()
    grown = queue.get(timeout=60)
    worker.join()
    assert grown < 16, f"reading 64 MB of shared pixels made {grown:.0f} MB private"
