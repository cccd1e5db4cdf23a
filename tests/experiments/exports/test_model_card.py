"""The model card: metadata that the hub reads, code that runs, whose weights went in."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import timm
import torch
from huggingface_hub import ModelCard

from experiments.command_line import main
from experiments.exports.formats import Exporter, load_exported
from experiments.exports.weight_origins import WeightOrigin, published_weights, weight_origins
from experiments.files import file_digest
from lightning_modules.networks import create_network
from tests.experiments.exports.export_layouts import save, write_run

PUBLISHED = {"network": "resnet18", "pretrained": True}
RANDOM = {"network": "cnn_tiny", "pretrained": False, "checkpoint": None}


def export(checkpoint, output, *options):
    assert main(["export", f"--checkpoint={checkpoint}", f"--output={output}", "--batch_size=3", *options]) == 0
    return (output / "README.md").read_text()


def run_code(card: str) -> list:
    """Run the card's blocks of Python and return the logits of each."""
    found = []
    for code in re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL):
        names: dict = {}
        exec(code, names)
        found.append(names["logits"])
    return found


def test_the_card_of_a_distilled_student(tmp_path, monkeypatch):
    stages = {"teacher": {"teacher": PUBLISHED}, "student_distilled": {"student": RANDOM, "teacher": PUBLISHED}}
    config = {"teacher": {"checkpoint": "/home/somebody/teacher.ckpt"}}
    teacher, student = write_run(tmp_path / "run", stages, config)
    table = pa.table({"id": [4, 5, 7], "target": [0, 1, 2], "label": [0, 1, 1], "confidence": np.ones(3, np.float32)})
    pq.write_table(
        table.replace_schema_metadata({"class_names": json.dumps(list("0123456789"))}),
        student.parents[1] / "predictions.parquet",
    )
    text = export(student, tmp_path / "out", "--format=torch,safetensors", "--license=mit")
    data = ModelCard(text).data
    assert (data.license, data.library_name, data.pipeline_tag) == ("mit", "pytorch", "image-classification")
    assert [(result.metric_type, result.metric_value) for result in data.eval_results] == [
        ("accuracy", 0.7),
        ("f1", 0.6875),
    ]
    assert {(result.dataset_name, result.dataset_split) for result in data.eval_results} == {("digits", "test")}
    assert data.base_model is None  # its teacher began with published weights, it did not
    for said in (
        "`cnn_tiny` with 1,946 parameters for 10 classes; trained on digits by the command `train`, stage "
        "`student_distilled`, seed 3 (one run)",
        f"SHA-256 {file_digest(student)}",
        "Alpaydin, E. and Kaynak, C. (1998)",
        "- Images, labeled: 100",
        "0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
        "0.7500 | 0.7000 |",
        "The test split has 3 images.",
        "- of the network: random initial weights\n",
        f"- of a teacher: stage teacher of the run run (SHA-256 {file_digest(teacher)})",
        "- of a teacher: published weights timm/resnet18.a1_in1k; licence: apache-2.0",
        "data.labels_per_class: 10\n",
        "teacher.checkpoint: teacher.ckpt\n",
        "torch 9.",
        "images of 8×8 pixels",
        "timm cannot load this folder",
        "Height and width are 8×8 in model.pt2.",
    ):
        assert said in text
    assert "somebody" not in text
    monkeypatch.chdir(tmp_path / "out")
    assert [logits.shape for logits in run_code(text)] == [(2, 10), (2, 10)]


def test_other_checkpoints_have_no_figures(tmp_path):
    (best,) = write_run(tmp_path / "run", {"train": {"model": PUBLISHED}})
    last = best.with_name("last.ckpt")
    best.rename(last)
    text = export(last, tmp_path / "out", "--format=safetensors")
    assert "No figures of this checkpoint are known." in text
    data = ModelCard(text).data
    assert data.eval_results is None
    assert data.base_model == ["timm/resnet18.a1_in1k"]


def test_a_checkpoint_of_no_run_has_a_card_that_says_so(tmp_path):
    save(tmp_path / "c.ckpt")
    text = export(tmp_path / "c.ckpt", tmp_path / "out", "--format=safetensors", "--image_size=8")
    assert "its training is not known: the checkpoint lies in no run" in text
    digest = file_digest(tmp_path / "c.ckpt")
    assert f"the file c.ckpt (SHA-256 {digest}): no run says where its weights are from; licence: unknown" in text
    assert ModelCard(text).data.license == "unknown"
    assert "Source: unknown" in text


@pytest.mark.parametrize(
    ("name", "options", "loads"),
    [
        ("test_resnet", {"stem": "standard"}, True),
        ("test_vit", {"image_size": 16}, True),
        ("test_resnet", {"image_size": 16}, False),
    ],
)
def test_timm_loads_its_own_networks(tmp_path, monkeypatch, name, options, loads):
    torch.manual_seed(0)
    made = create_network(name, num_classes=4, num_channels=1, mean=(0.3,), std=(0.2,), **options).eval()
    images = torch.rand(3, 1, 16, 16)
    Exporter(made, images, list("abcd")).write("safetensors", tmp_path)
    torch.testing.assert_close(load_exported(tmp_path)(images), made(images))
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["label_names"] == list("abcd")
    assert ("architecture" in config) == loads
    if loads:
        theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
        settings = theirs.pretrained_cfg
        assert (settings["mean"], settings["std"], settings["input_size"]) == ([0.3], [0.2], (1, 16, 16))
        torch.testing.assert_close(theirs((images - 0.3) / 0.2), made(images), rtol=1e-4, atol=1e-5)


def test_the_cards_code_for_timm_runs(tmp_path, monkeypatch):
    save(tmp_path / "c.ckpt", "test_resnet", stem="standard", mean=(0.3,), std=(0.2,))
    text = export(tmp_path / "c.ckpt", tmp_path / "out", "--format=safetensors", "--image_size=32")
    assert ModelCard(text).data.library_name == "timm"
    monkeypatch.chdir(tmp_path / "out")
    assert [logits.shape for logits in run_code(text)] == [(2, 10), (2, 10)]


def test_licences_are_those_that_publishers_name():
    swag = "https://github.com/facebookresearch/SWAG/blob/main/LICENSE"
    hub = "timm/resnet18.a1_in1k"
    timms = WeightOrigin(f"published weights {hub}", "apache-2.0", hub)
    assert published_weights("resnet18") == timms
    assert published_weights("timm/resnet18.a1_in1k") == timms
    assert published_weights("deformable_resnet18") == timms
    assert published_weights("unet", "resnet18") == timms
    assert published_weights("fcn8s") == timms
    assert published_weights("torchvision/vit_h_14").licence == swag
    assert published_weights("vgg11").licence == timm.get_pretrained_cfg("vgg11").license
    assert published_weights("googlenet").licence == "unknown"
    assert published_weights("deeplabv3_resnet50").licence == "unknown"
    assert published_weights("smp/Unet", "resnet18").licence == "unknown"
    assert published_weights("nobody_has_it").licence == "unknown"


def origins(checkpoint: Path) -> list[tuple[str, bool]]:
    return [(re.sub(" \\(SHA.*?\\)", "", origin.what), origin.taught) for origin in weight_origins(checkpoint)]


def test_chains_are_followed_from_run_to_run(tmp_path):
    (first,) = write_run(tmp_path / "first", {"train": {"model": PUBLISHED}})
    from_first = RANDOM | {"checkpoint": str(first)}
    (second,) = write_run(tmp_path / "second", {"train": {"model": from_first, "table": "abc"}})
    assert origins(second) == [
        ("stage train of the run first, whose own are:", False),
        ("published weights timm/resnet18.a1_in1k", False),
        ("pseudo-labels of a table", True),
    ]
    first.unlink()
    assert origins(second)[0] == ("published weights timm/resnet18.a1_in1k", False)  # its run is still there


def test_rounds_name_those_that_taught_them(tmp_path):
    in_round = {"student": RANDOM, "initialize": "fresh"}
    stages = {
        "round_0": {"teacher": PUBLISHED},
        "round_1": {"round": in_round, "taught_by": "round_0"},
        "round_2": {"round": in_round | {"initialize": "previous"}, "taught_by": "round_1"},
        "finetuned": {"start": "round_1"},
        "supervised": {"round": in_round},
    }
    _, first, second, finetuned, supervised = write_run(tmp_path / "loop", stages)
    published = "published weights timm/resnet18.a1_in1k"
    taught = [("stage round_0 of the run loop, whose own are:", True), (published, True)]
    own = [("random initial weights", False)]
    assert origins(first) == own + taught
    assert origins(finetuned) == [("stage round_1 of the run loop, whose own are:", False), *own, *taught]
    assert origins(second)[:4] == origins(finetuned)
    assert origins(second)[4] == ("stage round_1 of the run loop, whose own are:", True)
    assert origins(supervised) == own


def test_a_teacher_from_elsewhere_is_named(tmp_path):
    (elsewhere,) = write_run(tmp_path / "elsewhere", {"train": {"model": PUBLISHED}})
    teacher = {"network": None, "checkpoint": str(elsewhere)}
    checkpoints = write_run(
        tmp_path / "run",
        {"teacher": {"teacher": teacher}, "student_distilled": {"student": RANDOM, "teacher": teacher}},
    )
    checkpoints[0].unlink()
    assert origins(checkpoints[1]) == [
        ("random initial weights", False),
        ("stage train of the run elsewhere, whose own are:", True),
        ("published weights timm/resnet18.a1_in1k", True),
    ]


def test_a_file_that_names_itself_ends_the_chain(tmp_path):
    settings = dict(RANDOM)
    path = tmp_path / "run" / "stages" / "0-train" / "checkpoints" / "best.ckpt"
    settings["checkpoint"] = str(path)
    write_run(tmp_path / "run", {"train": {"model": settings}})
    assert origins(path)[-1][0].startswith("the file best.ckpt")
