"""The studies on small images, two steps each: what they compare, write, print and refuse."""

import json
from dataclasses import replace

import pytest
import torch

from datamodules.sources import create_source
from datamodules.sources.class_subset import select_classes
from experiments.building_networks import build_network
from experiments.command_line import carry_out, main
from experiments.network_settings import NetworkSettings, TeacherSettings
from experiments.settings import DataSettings, TrainerSettings
from experiments.studies import networks, transfer
from experiments.studies.__main__ import STUDIES
from experiments.studies.reporting import markdown_table, percent_with_spread
from experiments.studies.settings import NetworksStudy, PhaseSettings, TransferStudy
from lightning_modules.checkpoints import load_checkpoint
from lightning_modules.networks import count_parameters, create_network
from lightning_modules.settings import OptimizerSettings, TransferSettings

TRAINER = TrainerSettings(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
HEAD = "classifier.weight"
MODES = ["scratch", "full", "head", "last_stages", "discriminative", "gradual"]


def phase(classes: str, steps: int = 2, **data) -> PhaseSettings:
    data = DataSettings(classes=classes, num_validation=50, steps_per_epoch=steps, batch_size=16, **data)
    return PhaseSettings(data=data, trainer=TRAINER)


@pytest.fixture
def study(tmp_path) -> TransferStudy:
    return TransferStudy(
        output=str(tmp_path),
        seeds=[0, 1],
        model=NetworkSettings(network="cnn_tiny"),
        pretraining=phase("0,1,2,3,4"),
        transfer=phase("5,6,7,8,9", labels_per_class=5),
    )


def weights(directory, number, stage):
    path = directory / f"stages/{number}-{stage}/checkpoints/best.ckpt"
    return {
        name: value
        for name, value in load_checkpoint(path)["state_dict"].items()
        if name.startswith("network.") and not name.endswith("num_batches_tracked")
    }


def test_transfer_compares_every_mode_over_the_seeds(tmp_path, study, capsys):
    assert carry_out("transfer", study, debug=True, program=STUDIES) == 0
    found = json.loads((tmp_path / "transfer" / "results.json").read_text())
    assert list(found["stages"]) == ["pretraining", *MODES]
    for name, stage in found["stages"].items():
        of_seeds = [
            json.loads((tmp_path / f"transfer/seed_{seed}/results.json").read_text())["stages"][name] for seed in (0, 1)
        ]
        accuracies = [record["metrics"]["test/accuracy"] for record in of_seeds]
        assert stage["test/accuracy"] == accuracies
        assert stage["mean"] == pytest.approx(sum(accuracies) / 2)
        assert stage["standard_deviation"] == pytest.approx(abs(accuracies[0] - accuracies[1]) / 2**0.5)
        assert stage["steps"] == 2
    table = capsys.readouterr().out
    assert table.count("±") == 8  # seven rows, and the line that explains it
    assert (tmp_path / "transfer" / "report.md").read_text() in table


def test_transfer_starts_from_the_pretrained_body_and_a_new_head(tmp_path, study):
    study = replace(study, seeds=[0], modes=["scratch", "head"], pretraining=phase("0,1,2,3,4", steps=20))
    carry_out("transfer", study, debug=True, program=STUDIES)
    directory = tmp_path / "transfer" / "seed_0"
    pretrained, scratch, head = (
        weights(directory, number, stage) for number, stage in enumerate(("pretraining", "scratch", "head"))
    )
    is_head = {name: ".classifier." in name for name in head}
    assert sum(is_head.values()) == 2
    for name in head:
        assert torch.equal(head[name], pretrained[name]) == (not is_head[name])
        assert not torch.equal(scratch[name], pretrained[name])
    few = select_classes(create_source("digits"), [0, 1, 2, 3, 4])
    initial = build_network(study.model, few, 0, option="model").body.get_parameter(HEAD)
    assert (pretrained[f"network.body.{HEAD}"] - initial).abs().max() > 0.02
    assert (head[f"network.body.{HEAD}"] - initial).abs().max() < 0.007  # two steps of 0.003, from a head of its own


def test_transfer_takes_finished_stages_and_refuses_other_settings(tmp_path, study, capsys, monkeypatch):
    study = replace(study, seeds=[0], modes=["full"])
    first = transfer.run(study)
    monkeypatch.setattr(transfer.SeedOfTransfer, "_fit", lambda *_: pytest.fail("it was done before"))
    again = transfer.run(study)
    assert again == first
    assert "full: finished before" in capsys.readouterr().out
    changed = replace(study, transfer=phase("5,6,7,8,9", labels_per_class=6))
    assert carry_out("transfer", changed, debug=False, program=STUDIES) == 2
    assert "transfer.data.labels_per_class: got 6" in capsys.readouterr().err


@pytest.fixture
def small_networks(tmp_path) -> NetworksStudy:
    return NetworksStudy(
        output=str(tmp_path),
        name="n",
        only="lenet5,cnn_tiny",
        num_test=50,
        optimizer=OptimizerSettings(),
        teacher=TeacherSettings(network="cnn_small", max_epochs=2),
        student=NetworkSettings(network="cnn_tiny"),
        data=DataSettings(num_validation=50, steps_per_epoch=3, batch_size=16),
        trainer=TRAINER,
    )


def test_teacher_and_student_learn_in_the_layers_asked_for(tmp_path, small_networks):
    only_head = TransferSettings(mode="gradual", unfreeze_every=9)
    teacher = TeacherSettings(network="cnn_small", max_epochs=2, transfer=only_head)
    student = NetworkSettings(network="cnn_tiny", transfer=only_head)
    command = replace(small_networks, teacher=teacher, student=student)
    study = networks.StudyOfNetworks(command, create_source("digits"))
    study.pipeline.stage("teacher", study.teach)
    initial = build_network(teacher, study.source, 0, option="teacher").state_dict()
    for name, value in weights(tmp_path / "n", 0, "teacher").items():
        assert torch.equal(value, initial[name.removeprefix("network.")]) == (".classifier." not in name)
    assert study._alone(student, study._build(student)).transfer == only_head
    assert study._distilled(student, study._build(student)).transfer == only_head


def test_help_lists_the_studies_and_their_options(capsys):
    said = {}
    for arguments in (["--help"], ["networks", "--help"], ["transfer", "--help"]):
        with pytest.raises(SystemExit) as exit_status:
            main(arguments, STUDIES)
        assert exit_status.value.code == 0
        said[arguments[0]] = capsys.readouterr().out
    assert all(f"  {study} " in said["--help"] for study in STUDIES.commands)
    assert all(option in said["networks"] for option in ("--stem", "--distill ", "``networks-study``"))
    assert "--modes" in said["transfer"]


def lines(tmp_path) -> list[dict]:
    return [json.loads(line) for line in (tmp_path / "n" / "networks.jsonl").read_text().splitlines()]


def test_networks_learn_teach_and_are_taught(tmp_path, small_networks, capsys):
    assert carry_out("networks", small_networks, debug=True, program=STUDIES) == 0
    found = json.loads((tmp_path / "n" / "results.json").read_text())["stages"]
    assert list(found) == ["teacher", "student_alone", "lenet5", "cnn_tiny"]
    assert found["teacher"]["steps"] == 6
    for name in ("lenet5", "cnn_tiny"):
        record = found[name]
        assert record["steps"] == 3
        assert record["parameters"] == count_parameters(create_network(name, num_classes=10, num_channels=1))
        for key in ("test/accuracy", "test/accuracy_distilled", "test/accuracy_of_student"):
            assert round(record["metrics"][key] * 50, 3) % 1 == 0  # of the 50 test images
        assert record["input_size"] == 8
        assert {"network": name, **record} in lines(tmp_path)
    # the fixed student alone is what that network is alone: the same seed, images and steps
    assert found["cnn_tiny"]["metrics"]["test/accuracy"] == found["student_alone"]["metrics"]["test/accuracy"]
    assert not list((tmp_path / "n").glob("stages/1-*/checkpoints"))
    report = (tmp_path / "n" / "report.md").read_text()
    assert report in capsys.readouterr().out
    row = next(line for line in report.splitlines() if line.startswith("| lenet5"))
    assert f"{100 * found['lenet5']['metrics']['test/accuracy_distilled']:.2f}" in row


def test_networks_go_on_where_they_were(tmp_path, small_networks, monkeypatch, capsys):
    networks.run(replace(small_networks, only=["lenet5"]))
    (first,) = lines(tmp_path)
    measured = []
    measure = networks.StudyOfNetworks.measure
    monkeypatch.setattr(
        networks.StudyOfNetworks, "measure", lambda self, name: measured.append(name) or measure(self, name)
    )
    networks.run(small_networks)
    assert measured == ["cnn_tiny"]
    assert lines(tmp_path)[0] == first
    changed = replace(small_networks, optimizer=OptimizerSettings(lr=0.1))
    assert carry_out("networks", changed, debug=False, program=STUDIES) == 2
    assert "optimizer.lr: got 0.1" in capsys.readouterr().err


def test_a_network_that_fails_costs_the_others_nothing(tmp_path, small_networks, monkeypatch, capsys):
    measure = networks.StudyOfNetworks.measure

    def fail_once(self, name):
        if name == "lenet5":
            raise FloatingPointError("the training loss is nan")
        return measure(self, name)

    monkeypatch.setattr(networks.StudyOfNetworks, "measure", fail_once)
    assert carry_out("networks", small_networks, debug=False, program=STUDIES) == 1
    said = capsys.readouterr()
    assert "lenet5 failed" in said.err
    assert "| cnn_tiny" in said.out
    assert lines(tmp_path)[0] == {"network": "lenet5", "error": "FloatingPointError: the training loss is nan"}
    monkeypatch.setattr(networks.StudyOfNetworks, "measure", measure)
    assert carry_out("networks", small_networks, debug=True, program=STUDIES) == 0
    assert "metrics" in lines(tmp_path)[0]


def test_an_unknown_network_is_named_before_anything_is_trained(tmp_path, small_networks, capsys):
    study = replace(small_networks, only=["cnn_tiny", "lenet6"])
    assert carry_out("networks", study, debug=False, program=STUDIES) == 2
    assert "network: got 'lenet6'" in capsys.readouterr().err
    assert not (tmp_path / "n").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["transfer", "--seeds", "[1,1]"], ["seeds: got [1, 1], expected one value or more, each once"]),
        (["transfer", "--modes", "[backwards]"], ["modes", "backwards", "last_stages"]),
        (["networks", "--num_test", "0"], ["num_test: got 0, expected 1 or more images"]),
        (["networks", "--num_threads", "0"], ["num_threads: got 0, expected 1 or more"]),
        (["network"], ["unknown command 'network'", "did you mean 'networks'"]),
        (["networks", "--batch_size", "3"], ["--batch_size"]),
    ],
)
def test_mistakes_are_named_in_few_lines(capsys, arguments, expected):
    with pytest.raises(SystemExit) as exit_status:
        main(arguments, STUDIES)
    assert exit_status.value.code == 2
    text = capsys.readouterr().err
    assert len(text.splitlines()) < 10
    for words in expected:
        assert words in text


def test_tables_align_and_spreads_are_those_of_samples():
    table = markdown_table(("name", "value"), [("a", "1"), ("long", "10.5")])
    assert table.splitlines() == ["| name | value |", "| ---- | ----: |", "| a    |     1 |", "| long |  10.5 |"]
    assert percent_with_spread([0.9, 0.92, 0.94]) == "92.0 ± 2.0"
    assert percent_with_spread([0.5]) == "50.0"
