"""``export``: files that say what the checkpoint says, or none."""

import importlib.util
import os

import pytest
import torch

from datamodules.sources import create_source
from experiments.building_networks import build_network
from experiments.command_line import main
from experiments.exports.check import batches_to_check, compare, single_thread
from experiments.exports.formats import Computed, Exporter, load_exported, read_onnx
from experiments.network_settings import NetworkSettings
from lightning_modules.checkpoints import load_network
from lightning_modules.networks import create_network
from tests.experiments.exports.export_layouts import save, write_run

SLOW = [
    ("test_vit", 16, {"image_size": 16}),
    ("mobilenet_v1", 16, {"width_multiplier": 0.1, "image_size": 16}),
    ("shufflenetv2_cifar", 32, {}),
    ("googlenet", 32, {"image_size": 32}),
    ("deformable_resnet18", 32, {"image_size": 32}),
    ("test_efficientnet", 32, {"image_size": 32}),
    ("fcn8s", 32, {"encoder": "vgg8_cifar"}),
]
ALL = {"README.md", "config.json", "model.onnx", "model.pt2", "model.safetensors"}


def run(checkpoint, output, *options):
    return main(["export", f"--checkpoint={checkpoint}", f"--output={output}", "--batch_size=4", *options])


@pytest.fixture
def student(tmp_path):
    _, checkpoint = write_run(tmp_path / "run", {"teacher": {}, "student_distilled": {}})
    return checkpoint


@pytest.fixture
def quick(monkeypatch):
    """Take the checkpoint's own arithmetic for what torch.export computes."""

    def write(exporter, form, directory):
        (directory / "model.pt2").write_text("program")
        return Computed(exporter.network)

    monkeypatch.setattr(Exporter, "write", write)
    monkeypatch.setattr(Exporter, "side_step", None)


def test_every_format_says_what_the_checkpoint_says(student, tmp_path, capsys):
    output = tmp_path / "out"
    output.mkdir()
    (output / "theirs.txt").write_text("theirs")
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    assert run(student, output, "--format=torch,onnx,safetensors") == 0
    assert {path.name for path in output.iterdir()} == ALL | {"theirs.txt"}
    assert len({os.stat(path).st_mode for path in output.iterdir()}) == 1
    network = load_network(student).eval()
    for exported in (
        torch.export.load(output / "model.pt2").module(),
        read_onnx(output / "model.onnx"),
        load_exported(output),
    ):
        for number in (1, 2, 7):
            images = torch.rand(number, 1, 8, 8)
            torch.testing.assert_close(exported(images), network(images), rtol=1e-4, atol=1e-5)
    said = capsys.readouterr().out
    assert said.count("classes are equal in 100.00 %; 4 images of the test split of digits") == 3
    for name in ("student_distilled", "model.pt2", "model.onnx", "model.safetensors", "teacher", "4 images"):
        assert name in said
    assert "…" not in said
    assert max(map(len, said.splitlines()[3:-1])) <= 100


def test_weights_are_read_by_the_training_commands(student, tmp_path):
    assert run(student, tmp_path / "out", "--format=safetensors") == 0
    settings = NetworkSettings(network="cnn_tiny", checkpoint=str(tmp_path / "out" / "model.safetensors"))
    network = build_network(settings, create_source("digits"), 5, option="model")
    expected = load_network(student).state_dict()
    assert all(value.equal(expected[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("name", "side", "options"),
    [
        ("lenet5", 32, {"image_size": 32}),
        ("resnet8", 16, {"input_size": 24}),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW),
    ],
)
def test_families_are_traced_for_any_number_of_images(tmp_path, name, side, options):
    network = create_network(name, num_classes=5, **options).eval()
    exporter = Exporter(network, torch.rand(2, 3, side, side))
    exported = exporter.write("torch", tmp_path)
    check = compare(network, exported, batches_to_check(torch.rand(3, 3, side, side), exporter.side_step))
    assert check.passes
    assert check.equal == 1
    assert exporter.side_step == (8 if name == "fcn8s" else None)


def test_auxiliary_classifiers_stay_out_of_programs_and_in_weights(tmp_path):
    network = create_network("torchvision/squeezenet1_1", num_classes=5).eval()
    network.body.extra = torch.nn.Linear(3, 5)
    network.body.auxiliary_heads = ("extra",)
    program = Exporter(network, torch.rand(2, 3, 32, 32)).program
    assert not any("extra" in name for name in program.state_dict)
    assert network.body.extra is not None


def test_masks_of_images_with_longer_sides(tmp_path):
    pytest.importorskip("onnxruntime")
    network = create_network("unet", num_classes=3, width=4, depth=1, output_stride=2).eval()
    exporter = Exporter(network, torch.rand(2, 3, 16, 16))
    assert exporter.side_step == 4  # blocks of 2, and maps that are halved once
    for form in ("torch", "onnx"):
        exported = exporter.write(form, tmp_path)
        for shape in ((1, 3, 16, 16), (3, 3, 24, 20)):
            images = torch.rand(shape)
            torch.testing.assert_close(exported(images), network(images), rtol=1e-4, atol=1e-5)


def test_a_file_that_says_something_else_is_not_kept(student, tmp_path, quick, monkeypatch, capsys):
    output = tmp_path / "out"
    assert run(student, output) == 0
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    right = Exporter.write

    def wrong(exporter, form, directory):
        network = right(exporter, form, directory)
        return Computed(lambda images: network(images) + 0.1)

    monkeypatch.setattr(Exporter, "write", wrong)
    assert run(student, output) == 1
    assert "model.pt2 differs from the checkpoint by 1.0e-01, more than 0.001 of the spread" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    assert run(student, tmp_path / "other") == 1
    assert list((tmp_path / "other").iterdir()) == []


def test_known_differences():
    images = [torch.zeros(1, 2), torch.tensor([[0.0, 4.0], [2.0, 0.0], [1.0, 0.0]])]
    shift = Computed(lambda batch: batch + torch.tensor([0.0, 0.5]))
    check = compare(torch.nn.Identity(), shift, images)
    assert (check.difference, check.spread, check.equal) == (0.5, 4.0, 0.75)
    assert not check.passes
    tiny = compare(torch.nn.Identity(), Computed(lambda batch: batch + 0.003), images)
    assert tiny.passes
    assert tiny.equal == 1
    assert not compare(torch.nn.Identity(), Computed(lambda batch: batch * float("nan")), images).passes


def test_images_of_the_user_go_before_random_ones(tmp_path, quick, capsys):
    save(tmp_path / "c.ckpt")
    assert run(tmp_path / "c.ckpt", tmp_path / "out", "--image_size=9") == 0
    assert "4 random images, no real ones: neither a run nor --data.source names any" in capsys.readouterr().out
    assert run(tmp_path / "c.ckpt", tmp_path / "out", "--data.source=digits") == 0
    assert "4 images of the test split of digits" in capsys.readouterr().out


def test_a_teacher_may_be_given(student, tmp_path, quick, capsys):
    save(tmp_path / "large.ckpt", "cnn_small")
    assert run(student, tmp_path / "out", f"--teacher={tmp_path / 'large.ckpt'}") == 0
    assert "16,794" in capsys.readouterr().out
    teacher = student.parents[2] / "0-teacher" / "checkpoints" / "best.ckpt"
    assert run(teacher, tmp_path / "out") == 0
    assert capsys.readouterr().out.count("1,946") == 1  # not its own teacher


def test_one_thread_and_then_as_before():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with single_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_mistakes_are_named(student, tmp_path, quick, monkeypatch, capsys):
    save(tmp_path / "c.ckpt")
    save(tmp_path / "colour.ckpt", num_channels=3)
    save(tmp_path / "letters.ckpt", class_names="abcdefghij")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "README.md").write_text("# Theirs\n")
    cases = {
        "image_size: got None, expected the side in pixels": (tmp_path / "c.ckpt", "out", []),
        "image_size: got 9, expected null: the data say": (student, "out", ["--image_size=9"]),
        "its num_channels is 3, digits has 1": (tmp_path / "colour.ckpt", "out", ["--data.source=digits"]),
        "whose class 0 is 'a'": (tmp_path / "letters.ckpt", "out", ["--data.source=digits"]),
        "for 3', expected a network for images of 1 channels": (student, "out", [f"--teacher={tmp_path}/colour.ckpt"]),
        "expected a directory without a README.md that no export wrote": (student, "foreign", []),
        "output: cannot make the directory": (student, "c.ckpt/out", []),
        "there is no such file": (tmp_path / "none.ckpt", "out", []),
    }
    for message, (checkpoint, output, options) in cases.items():
        assert run(checkpoint, tmp_path / output, *options) == 2
        assert message in capsys.readouterr().err
    assert (foreign / "README.md").read_text() == "# Theirs\n"
    for option, message in {
        "--format=torch,onyx": "format: got ['torch', 'onyx'], expected some of torch, onnx, safetensors",
        "--format=onnx,onnx": "each once",
        "--batch_size=1": "batch_size: got 1, expected 2 or more images",
        "--image_size=0": "image_size: got 0, expected 1 or more pixels",
        "--license= ": "license: got ' ', expected a name such as apache-2.0",
    }.items():
        with pytest.raises(SystemExit):
            run(student, tmp_path / "out", option)
        assert message in capsys.readouterr().err
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert run(student, tmp_path / "out", "--format=onnx") == 2
    assert "onnx, onnxscript, onnxruntime, which are not installed: pip install '.[export]'" in capsys.readouterr().err


def test_networks_that_a_format_has_no_room_for_are_told_where_to_go(tmp_path, monkeypatch):
    exporter = Exporter(create_network("cnn_tiny", num_classes=3, image_size=8).eval(), torch.rand(2, 3, 8, 8))

    def fail(*args, **options):
        raise RuntimeError("no operator deform_conv2d")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(ValueError, match=r"got 'onnx' for 'cnn_tiny', expected torch or safetensors: .*deform_conv2d"):
        exporter.write("onnx", tmp_path)
    monkeypatch.setattr("experiments.exports.formats.export", fail)
    other = Exporter(exporter.network, exporter.images)
    with pytest.raises(ValueError, match="got 'torch' for 'cnn_tiny', expected safetensors"):
        other.write("torch", tmp_path)
    other.write("safetensors", tmp_path)


def test_a_folder_that_is_not_ours_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"config\.json: expected what export --format safetensors writes"):
        load_exported(tmp_path)
