"""Transfer from the command line's settings: checkpoints into other classes, and what contradicts them."""

import dataclasses
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from datamodules.sources.source import Source
from experiments.building_networks import build_network
from experiments.command_line import carry_out
from experiments.commands import DistillCommand, TrainCommand
from experiments.network_settings import NetworkSettings, TeacherSettings
from experiments.settings import DataSettings, TrainerSettings
from experiments.training import strategy_for
from lightning_modules.checkpoints import AtomicCheckpointIO, load_checkpoint, load_network
from lightning_modules.classification import ClassificationModule
from lightning_modules.networks import create_network
from lightning_modules.networks.layers import layer_groups
from lightning_modules.settings import TransferSettings
from tests.conftest import make_source, run_command

TRAINER = TrainerSettings(max_epochs=2, accelerator="cpu", enable_progress_bar=False)


def write_checkpoint(path: Path, name: str = "cnn_tiny", num_classes: int = 5, **options) -> Path:
    torch.manual_seed(7)
    network = create_network(name, num_classes=num_classes, num_channels=1, mean=(0.1,), std=(0.9,), **options)
    module = ClassificationModule(network, num_classes)
    checkpoint = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    AtomicCheckpointIO().save_checkpoint(checkpoint, path)
    return path


def train(tmp_path: Path, name: str, classes: str, model: NetworkSettings) -> Path:
    """Train for two short epochs and return the run's stage directory."""
    data = DataSettings(num_validation=30, steps_per_epoch=3, classes=classes)
    command = TrainCommand(output=str(tmp_path), name=name, wandb="off", data=data, trainer=TRAINER, model=model)
    assert carry_out("train", command, debug=True) == 0
    return tmp_path / name / "stages" / "0-train"


def test_a_trained_network_is_transferred_to_other_classes(tmp_path, capsys):
    first = train(tmp_path, "first", "0,1,2", NetworkSettings(network="cnn_tiny")) / "checkpoints" / "best.ckpt"
    assert "replaced" not in capsys.readouterr().out
    model = NetworkSettings(checkpoint=str(first), transfer=TransferSettings("head"))
    stage = train(tmp_path, "second", "3,4,5,6", model)
    said = capsys.readouterr().out
    assert said.count("model: the head of 3 classes in the checkpoint is replaced by a new one of 4") == 1
    before = load_network(first)
    after = load_network(stage / "checkpoints" / "best.ckpt")
    assert (after.spec.name, after.spec.num_classes, after.spec.mean) == ("cnn_tiny", 4, before.spec.mean)
    backbone = {name: value for name, value in before.state_dict().items() if "classifier" not in name}
    assert all(torch.equal(after.state_dict()[name], value) for name, value in backbone.items())
    settings = json.loads((stage / "settings.json").read_text())["model"]
    assert settings["transfer"] == dataclasses.asdict(TransferSettings("head"))
    assert {"stem", "drop_rate", "drop_path_rate", "ignore_keys", "checkpoint"} <= settings.keys()


def test_a_distilled_student_is_transferred_too(tmp_path, capsys):
    path = write_checkpoint(tmp_path / "five.ckpt")
    command = DistillCommand(
        output=str(tmp_path),
        name="run",
        wandb="off",
        data=DataSettings(num_validation=51, steps_per_epoch=2),
        trainer=TrainerSettings(max_epochs=1, accelerator="cpu", enable_progress_bar=False),
        teacher=TeacherSettings(network="cnn_tiny", transfer=TransferSettings("discriminative")),
        student=NetworkSettings(checkpoint=str(path), transfer=TransferSettings("head")),
    )
    assert carry_out("distill", command, debug=True) == 0
    assert capsys.readouterr().out.count("student: the head of 5 classes") == 1
    original = load_network(path).state_dict()
    for stage in ("1-student_alone", "2-student_distilled"):
        state = load_network(tmp_path / "run" / "stages" / stage / "checkpoints" / "last.ckpt").state_dict()
        assert len(state["body.classifier.weight"]) == 10
        assert all(torch.equal(value, original[name]) for name, value in state.items() if "classifier" not in name)


def test_a_teacher_may_come_from_a_state_dictionary(tmp_path):
    body = create_network("cnn_tiny", num_classes=10, num_channels=1).body
    safetensors.torch.save_file(body.state_dict(), tmp_path / "teacher.safetensors")
    command = DistillCommand(
        output=str(tmp_path),
        name="run",
        wandb="off",
        data=DataSettings(num_validation=51, steps_per_epoch=1),
        trainer=TrainerSettings(max_epochs=1, accelerator="cpu", enable_progress_bar=False),
        teacher=TeacherSettings(network="cnn_tiny", checkpoint=str(tmp_path / "teacher.safetensors")),
        student=NetworkSettings(network="cnn_tiny"),
    )
    assert carry_out("distill", command, debug=True) == 0
    teacher = json.loads((tmp_path / "run" / "results.json").read_text())["stages"]["teacher"]
    assert teacher["seconds"] is None
    assert 0 <= teacher["metrics"]["test/accuracy"] < 0.5


def test_a_checkpoint_keeps_its_normalisation_and_options(tmp_path, source: Source):
    path = write_checkpoint(tmp_path / "x.ckpt", "resnet18", input_size=16, drop_rate=0.1, stem="small")
    settings = NetworkSettings(checkpoint=str(path))
    network = build_network(settings, source, 0, option="model")
    spec = network.spec
    assert (spec.name, spec.num_classes, spec.mean, spec.std) == ("resnet18", 3, (0.1,), (0.9,))
    assert (spec.input_size, spec.options["stem"], spec.options["drop_rate"]) == (16, "small", 0.1)
    noisier = build_network(dataclasses.replace(settings, drop_rate=0.4), source, 0, option="model")
    assert noisier.spec.options["drop_rate"] == 0.4
    again = build_network(settings, source, 0, option="model")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "cnn_small"}, r"model\.network: got 'cnn_small', but .*x\.ckpt was trained with 'mobilenet_v1'"),
        ({"input_size": 32}, r"model\.input_size: got 32, but .* was trained with None; leave it out"),
        ({"stem": "small"}, r"model\.stem: got 'small', but .* was trained with 'standard'"),
        ({"options": {"width_multiplier": 0.5}}, r"model\.options\.width_multiplier: got 0\.5, but .* with 0\.25"),
        ({"options": {"stem_stride": 1}}, r"model\.options\.stem_stride: got 1, but .* with None"),
    ],
)
def test_settings_that_contradict_a_checkpoint_are_refused(tmp_path, source, changes, message):
    path = write_checkpoint(tmp_path / "x.ckpt", "mobilenet_v1", width_multiplier=0.25)
    agreeing = {"network": "mobilenet_v1", "stem": "standard", "options": {"width_multiplier": 0.25}}
    build_network(NetworkSettings(checkpoint=str(path), **agreeing), source, 0, option="model")
    with pytest.raises(ValueError, match=message):
        build_network(NetworkSettings(checkpoint=str(path), **changes), source, 0, option="model")


@pytest.mark.parametrize(
    ("trained_with", "given"),
    [
        ({"resolution_multiplier": 0.75}, {"resolution_multiplier": 0.75}),
        ({}, {"width_multiplier": 1.0, "stem_stride": 2}),
    ],
)
def test_a_run_is_fine_tuned_with_its_own_options_or_their_defaults(tmp_path, trained_with, given):
    path = write_checkpoint(tmp_path / "x.ckpt", "mobilenet_v1", image_size=96, **trained_with)
    settings = NetworkSettings(network="mobilenet_v1", checkpoint=str(path), options=given)
    network = build_network(settings, make_source(size=96), 0, option="model")
    assert network.spec.input_size == (72 if trained_with else None)
    other = dataclasses.replace(settings, options={"resolution_multiplier": 0.5})
    with pytest.raises(ValueError, match=r"model\.input_size: got 48, but .*x\.ckpt was trained with"):
        build_network(other, make_source(size=96), 0, option="model")


def test_a_state_dictionary_needs_the_networks_name(tmp_path, source: Source):
    body = create_network("cnn_tiny", num_classes=3, num_channels=3).body
    torch.save(body.state_dict(), tmp_path / "x.pth")
    said: list[str] = []
    settings = NetworkSettings(network="cnn_tiny", checkpoint=str(tmp_path / "x.pth"))
    network = build_network(settings, source, 0, option="model", say=said.append)
    assert said == ["model: the first convolution of 3 channels in the checkpoint is adapted to 1"]
    assert torch.equal(network.body.classifier.weight, body.classifier.weight)
    assert network.spec.mean == source.mean
    with pytest.raises(ValueError, match=r"model\.network: got None, expected the network that .*x\.pth holds"):
        build_network(NetworkSettings(checkpoint=str(tmp_path / "x.pth")), source, 0, option="model")


def test_a_teacher_is_taken_as_it_is(tmp_path, source: Source):
    ours = TeacherSettings(checkpoint=str(write_checkpoint(tmp_path / "five.ckpt")))
    with pytest.raises(ValueError, match=r"teacher\.checkpoint .*five\.ckpt: its num_classes is 5, stripes has 3"):
        build_network(ours, source, 0, option="teacher", exact=True)
    torch.save(create_network("cnn_tiny", num_classes=5, num_channels=1).state_dict(), tmp_path / "five.pth")
    foreign = TeacherSettings(network="cnn_tiny", checkpoint=str(tmp_path / "five.pth"))
    with pytest.raises(ValueError, match=r"five\.pth: classifier\.weight has shape \(5, 22\), expected \(3, 22\)"):
        build_network(foreign, source, 0, option="teacher", exact=True)
    same = write_checkpoint(tmp_path / "three.ckpt", num_classes=3)
    headless = TeacherSettings(checkpoint=str(same), ignore_keys="classifier")
    with pytest.raises(ValueError, match=r"ignore_keys: got \['classifier'\], expected .* surplus keys alone"):
        build_network(headless, source, 0, option="teacher", exact=True)
    with pytest.raises(ValueError, match=r"teacher\.transfer\.mode: got 'head', expected full"):
        TeacherSettings(checkpoint="x.ckpt", transfer=TransferSettings("head"))


def test_the_default_networks(source: Source):
    assert build_network(NetworkSettings(), source, 0, option="model").spec.name == "cnn_small"
    assert build_network(TeacherSettings(), source, 0, option="teacher").spec.name == "cnn_large"


def test_small_images_take_the_small_stem_unless_asked_otherwise():
    source = make_source(size=32)
    for stem, stride in (("auto", (1, 1)), ("small", (1, 1)), ("standard", (2, 2))):
        network = build_network(NetworkSettings(network="resnet18", stem=stem), source, 0, option="model")
        assert network.body.conv1.stride == stride


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pretrained": True, "checkpoint": "x.ckpt"}, "pretrained: got True, expected false together with"),
        ({"drop_rate": 1.0}, r"drop_rate: got 1\.0, expected a probability in \[0, 1\)"),
        ({"drop_rate": 0.1, "options": {"drop_rate": 0.2}}, r"options\.drop_rate: got 0\.2, expected it once"),
        ({"options": {"stem": "small"}}, r"options: got \['stem'\], expected them outside of options"),
        ({"options": {"num_classes": 2}}, r"options: got \['num_classes'\], expected none of these: the images"),
        ({"options": {"mean": 1, "std": 1}}, r"options: got \['mean', 'std'\], expected none of these"),
        ({"ignore_keys": [""], "checkpoint": "x.ckpt"}, r"ignore_keys: got \[''\], expected beginnings of keys"),
        ({"ignore_keys": "a,", "checkpoint": "x.ckpt"}, r"ignore_keys: got 'a,', expected beginnings of keys"),
        ({"ignore_keys": ["fc"]}, r"ignore_keys: got \['fc'\], expected none without a checkpoint"),
        ({"transfer": TransferSettings("head")}, r"transfer\.mode: got 'head', expected full without checkpoint or"),
        ({"transfer": TransferSettings("last_stages")}, r"transfer\.mode: got 'last_stages', expected full without"),
    ],
)
def test_settings_that_make_no_sense_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        NetworkSettings(**changes)


@pytest.mark.parametrize(
    ("mode", "given", "expected"),
    [
        ("gradual", {"devices": 2}, "ddp_find_unused_parameters_true"),
        ("gradual", {"devices": 1, "strategy": "ddp"}, "ddp_find_unused_parameters_true"),
        ("gradual", {"devices": 1}, "auto"),
        ("gradual", {"devices": 2, "strategy": "ddp_spawn"}, "ddp_spawn"),
        ("head", {"devices": 2}, "auto"),
    ],
)
def test_gradual_unfreezing_on_several_processes_allows_for_frozen_parameters(mode, given, expected):
    module = ClassificationModule(torch.nn.Linear(1, 2), 2, transfer=TransferSettings(mode))
    assert strategy_for(module, dataclasses.replace(TRAINER, **given)) == expected


@pytest.mark.slow
def test_two_processes_unfreeze_group_by_group(tmp_path):
    checkpoint = write_checkpoint(tmp_path / "start.ckpt", "cnn_small", num_classes=10)
    options = {"--output": tmp_path, "--name": "two", "--wandb": "off", "--model.checkpoint": checkpoint}
    options |= {"--data.num_validation": 50, "--data.steps_per_epoch": 4, "--optimizer.weight_decay": 0.1}
    options |= {"--model.transfer.mode": "gradual", "--trainer.max_epochs": 2, "--trainer.accelerator": "cpu"}
    result = run_command("train", "--trainer.devices", 2, *(x for pair in options.items() for x in pair))
    assert result.returncode == 0, result.stderr
    network = load_network(checkpoint)
    state = load_checkpoint(tmp_path / "two/stages/0-train/checkpoints/last.ckpt")["state_dict"]
    moved = {name for name, value in network.state_dict().items() if not torch.equal(state[f"network.{name}"], value)}
    parameters = {name for group in layer_groups(network)[-2:] for name in group}
    buffers = {f"body.features.11.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
    assert moved == parameters | buffers
