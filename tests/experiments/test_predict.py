"""``predict``: masks and tables of classes of image files, whatever files there are."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

import experiments.predict as predict
from datamodules.mask_files import read_mask
from datamodules.sources.decoding import open_image
from datamodules.sources.folder_reader import FolderReader, Reading
from datamodules.sources.paths import PathList
from experiments.command_line import main
from experiments.predict_settings import PredictCommand
from lightning_modules.checkpoints import AtomicCheckpointIO
from lightning_modules.classification import ClassificationModule
from lightning_modules.networks import create_network
from lightning_modules.sliding_window import predict_whole
from tests.datamodules.sources.layouts import write_photograph

NAMES = ["background", "cat", "dog", "$^$"]


def save(path, name, num_channels=3, class_names=NAMES, **options):
    """Write a checkpoint of an untrained network and return the network."""
    torch.manual_seed(1)
    network = create_network(name, num_classes=4, num_channels=num_channels, **options).eval()
    module = ClassificationModule(network, 4)
    content = {"state_dict": module.state_dict()} | ({"class_names": class_names} if class_names else {})
    module.on_save_checkpoint(content)
    AtomicCheckpointIO().save_checkpoint(content, path)
    return network


@pytest.fixture
def folder(tmp_path):
    """Write images of several kinds, two folders deep."""
    root = tmp_path / "images"
    write_photograph(root / "a.jpg", 0, 100, 80)
    write_photograph(root / "deep" / "er" / "b.c.png", 1, 31, 45)
    write_photograph(root / "deep" / "grey.jpg", 2, 40, 30)
    Image.open(root / "deep" / "grey.jpg").convert("L").save(root / "deep" / "grey.jpg", quality=95)
    return root


def run(tmp_path, *options, **named):
    settings = {"checkpoint": tmp_path / "c.ckpt", "input": tmp_path / "images", "output": tmp_path / "out"} | named
    arguments = [f"--{name}={value}" for name, value in settings.items()]
    return main(["predict", *arguments, "--accelerator=cpu", *options])


def assert_masks(tmp_path, network, flip=False):
    for path, mask in (("a.jpg", "a"), ("deep/er/b.c.png", "deep/er/b.c"), ("deep/grey.jpg", "deep/grey")):
        encoded = open_image(tmp_path / "images" / path, 10**9)
        image = encoded.decode(encoded.whole)[None, :3] / 255
        if network.spec.num_channels == 1:
            image = (image * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
        expected = predict_whole(network, image, flip)[0].argmax(dim=0).numpy()
        found = read_mask(tmp_path / "out" / "masks" / f"{mask}.png", 4)
        assert found.shape == expected.shape
        assert (found == expected).mean() > (0.999 if network.spec.num_channels == 3 else 0.98)  # rounded to bytes


@pytest.mark.parametrize(("num_channels", "flip"), [(3, False), (1, True)])
def test_masks_are_those_of_the_network_at_the_images_size(tmp_path, folder, num_channels, flip):
    network = save(tmp_path / "c.ckpt", "unet", num_channels, width=4, depth=1)
    assert run(tmp_path, "--precision=float32", "--overlays=false", f"--flip={flip}".lower()) == 0
    assert_masks(tmp_path, network, flip)


def test_overlays_are_beside_the_masks_and_the_last_line_says_where(tmp_path, folder, capsys):
    save(tmp_path / "c.ckpt", "unet", width=2, depth=1)
    (folder / "a.jpg").unlink()
    assert run(tmp_path) == 0
    with Image.open(tmp_path / "out" / "overlays" / "deep" / "er" / "b.c.png") as overlay:
        assert min(overlay.size) > 400
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == f"2 images predicted: {tmp_path}/out/masks and {tmp_path}/out/overlays"


def test_flip_changes_masks(tmp_path, folder):
    save(tmp_path / "c.ckpt", "unet", width=4, depth=1)
    for flip in ("false", "true"):
        assert run(tmp_path, f"--flip={flip}", "--overlays=false", output=tmp_path / flip) == 0
    masks = [read_mask(tmp_path / flip / "masks" / "a.png", 4) for flip in ("false", "true")]
    assert (masks[0] != masks[1]).any()


def test_windows_give_the_mask_of_the_whole_where_they_overlap_enough(tmp_path, folder):
    network = save(tmp_path / "c.ckpt", "unet", width=2, depth=1)
    options = ("--window=64", "--overlap=48", "--batch_size=3", "--precision=float32", "--overlays=false")
    assert run(tmp_path, *options) == 0
    assert_masks(tmp_path, network)
    assert not (tmp_path / "out" / "overlays").exists()
    assert run(tmp_path, "--window=32", "--overlap=0", "--precision=float32", output=tmp_path / "apart") == 0
    masks = [read_mask(tmp_path / folder / "masks" / "a.png", 4) for folder in ("out", "apart")]
    assert (masks[0] != masks[1]).any()  # windows were taken, and see their padding


@pytest.mark.parametrize(
    ("options", "size", "expected"),
    [
        ({}, (1024, 1024), (1024, 0)),
        ({"overlap": 600}, (300, 200), (300, 0)),
        ({}, (1025, 1024), (512, 128)),
        ({"window": 256, "batch_size": 4}, (100, 300), (256, 64)),
        ({"window": 256, "overlap": 7}, (5000, 10), (256, 7)),
    ],
)
def test_large_images_take_windows(options, size, expected):
    command = PredictCommand(checkpoint="", input="", **options)
    window = predict.create_window(torch.nn.Identity(), command, *size)
    assert (window.window, window.overlap, window.batch_size) == (*expected, options.get("batch_size", 1))


def test_one_file_may_be_named(tmp_path, folder):
    save(tmp_path / "c.ckpt", "unet", width=4, depth=1)
    assert run(tmp_path, input=folder / "deep" / "grey.jpg", output=folder / "beside") == 0
    assert [path.name for path in (folder / "beside" / "masks").iterdir()] == ["grey.png"]


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("num_channels", "flip"), [(3, True), (1, False)])
def test_the_table_has_the_softmax_of_images_cropped_as_in_evaluation(tmp_path, folder, num_channels, flip):
    network = save(tmp_path / "c.ckpt", "cnn_tiny", num_channels)
    options = ("--image_size=24", "--precision=float32", f"--flip={flip}".lower(), "--batch_size=2")
    assert run(tmp_path, *options) == 0
    rows = rows_of(tmp_path / "out" / "predictions.csv")
    assert [row["path"] for row in rows] == ["a.jpg", "deep/grey.jpg", "deep/er/b.c.png"]
    paths = PathList.of([row["path"] for row in rows])
    images = FolderReader.of(folder, paths, Reading(24))(torch.arange(3), None)[0]
    if num_channels == 1:
        grey = [np.array(Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L")) for image in images]
        images = torch.from_numpy(np.stack(grey)).unsqueeze(1)
    expected = predict_whole(network, images / 255, flip)
    for row, probabilities in zip(rows, expected, strict=True):
        ranked = [row["class_name"], *(row[f"class_name_{rank}"] for rank in (2, 3, 4))]
        values = [row["confidence"], *(row[f"confidence_{rank}"] for rank in (2, 3, 4))]
        order = probabilities.argsort(descending=True)
        assert int(row["label"]) == order[0]
        assert ranked == [NAMES[label] for label in order]
        assert [float(value) for value in values] == pytest.approx(probabilities[order].tolist(), abs=2e-6)
    assert len(rows[0]) == 3 + 1 + 2 * 3


def test_the_networks_own_size_and_numbers_for_names(tmp_path, folder):
    save(tmp_path / "c.ckpt", "cnn_tiny", class_names=None, input_size=16)
    assert run(tmp_path) == 0
    assert {row["class_name"] for row in rows_of(tmp_path / "out" / "predictions.csv")} <= set("0123")


def test_lower_precision_is_close(tmp_path, folder):
    save(tmp_path / "c.ckpt", "cnn_small")
    tables = []
    for precision in ("float32", "bfloat16"):
        assert run(tmp_path, "--image_size=32", f"--precision={precision}", output=tmp_path / precision) == 0
        tables.append([float(row["confidence"]) for row in rows_of(tmp_path / precision / "predictions.csv")])
    assert tables[0] == pytest.approx(tables[1], abs=0.05)
    assert tables[0] != tables[1]


def test_unreadable_files_are_named_and_the_rest_is_done(tmp_path, folder, capsys):
    save(tmp_path / "c.ckpt", "cnn_tiny", input_size=16)
    data = (folder / "a.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(data[: len(data) // 2])
    (folder / "none.png").write_text("no image")
    assert run(tmp_path, "--max_pixels=4000") == 1
    assert len(rows_of(tmp_path / "out" / "predictions.csv")) == 2
    said = capsys.readouterr()
    assert said.out.startswith("2 images predicted: ")
    assert "a.jpg: 100x80 pixels are more than --max_pixels 4000\n" in said.err
    assert "none.png: cannot be read as an image" in said.err
    assert "--data" not in said.err
    assert "3 of 5 files cannot be read; they are named above" in said.err.splitlines()[-1]


def test_an_earlier_table_stays_where_predicting_fails(tmp_path, folder, monkeypatch):
    save(tmp_path / "c.ckpt", "cnn_tiny", input_size=16)
    assert run(tmp_path) == 0
    table = tmp_path / "out" / "predictions.csv"
    before = table.read_text()
    sizes, answers = [], iter([torch.eye(4)[:2]])

    def fail_at_the_second(network, images, flip):
        sizes.append(len(images))
        return next(answers)

    monkeypatch.setattr(predict, "predict_whole", fail_at_the_second)
    assert run(tmp_path, "--batch_size=2") == 1
    assert sizes == [2, 1]
    assert table.read_text() == before
    assert list(table.parent.iterdir()) == [table]


def test_names_that_differ_by_the_ending_are_refused_before_anything_is_written(tmp_path, folder, capsys):
    save(tmp_path / "c.ckpt", "unet", width=2, depth=1)
    write_photograph(folder / "deep" / "grey.png")
    assert run(tmp_path) == 2
    assert "input: got deep/grey.jpg and deep/grey.png, whose masks would both be" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("network", "options", "named", "message"),
    [
        ("unet", [], {"input": "nowhere"}, "input: got nowhere, where there is nothing; expected an image"),
        ("unet", [], {"input": "empty"}, "input: got empty, which has no images; expected some, at any depth (.jpg"),
        ("unet", [], {"output": "images/out"}, "output: got 'images/out', expected a directory outside of images"),
        ("unet", [], {"output": "images/a.jpg/out", "input": "images/a.jpg"}, "output: cannot make the directory"),
        ("unet", [], {"checkpoint": "images/a.jpg"}, "images/a.jpg: not a complete PyTorch checkpoint"),
        ("unet", ["--image_size=9"], {}, "image_size: got 9, expected null for unet: masks have the images' size"),
        ("unet", ["--overlap=512"], {}, "overlap: got 512, expected pixels in 0..511"),
        ("cnn_tiny", ["--window=9"], {}, "window: got 9, expected null for cnn_tiny: windows are for masks"),
        ("cnn_tiny", [], {}, "image_size: got None, expected the side in pixels of the images that cnn_tiny was"),
    ],
)
def test_mistakes_are_named(tmp_path, folder, monkeypatch, capsys, network, options, named, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    save(tmp_path / "c.ckpt", network, **({"width": 2, "depth": 1} if network == "unet" else {}))
    assert run(tmp_path, *options, **({"input": "images", "output": "out"} | named)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_options_out_of_range_and_networks_of_other_channels_are_refused(tmp_path, folder, capsys):
    save(tmp_path / "c.ckpt", "cnn_tiny", num_channels=4)
    assert run(tmp_path) == 2
    assert "checkpoint: got 'cnn_tiny for 4 channels', expected a network for grey or colour" in capsys.readouterr().err
    for option in ("image_size", "window", "batch_size", "max_pixels"):
        with pytest.raises(SystemExit):
            run(tmp_path, f"--{option}=0")
        assert f"{option}: got 0, expected 1 or more" in capsys.readouterr().err


def test_a_gpu_is_asked_for_in_vain(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)
    assert predict.choose_device("auto") == torch.device("cpu")
    with pytest.raises(ValueError, match="accelerator: got 'gpu', expected auto or cpu: torch finds no GPU"):
        predict.choose_device("gpu")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("cuda"))
    assert [predict.choose_device(name).type for name in ("auto", "gpu", "cpu")] == ["cuda", "cuda", "cpu"]
