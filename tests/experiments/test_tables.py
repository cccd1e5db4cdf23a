"""The table that a run ends with."""

from io import StringIO

import pytest
from rich.console import Console

from experiments.tables import WIDTH, print_table

METRICS = {"val/accuracy": 1.0, "test/accuracy": 0.98765}
BIG = {"parameters": 305_510_032, "seconds": 12345.6, "steps": 1_234_567, "metrics": METRICS}
AUDIT = {"selected_share": 0.5, "accuracy": 1.0, "accuracy_selected": None, "selected": 3}


def lines_of(capsys, **stages) -> dict[str, list[str]]:
    print_table({"name": "loop", "seed": 0, "device": "NVIDIA H200 80GB HBM3", "stages": stages})
    said = capsys.readouterr().out.splitlines()
    assert max(map(len, said)) <= WIDTH
    return {words[0]: words[1:] for line in said if (words := line.split())}


def test_numbers_are_whole_within_a_hundred_columns(capsys):
    table = lines_of(
        capsys,
        round_0=BIG,
        round_1_labels={"seconds": 1.0, "pseudo_labels": AUDIT},
        round_1=BIG | {"pseudo_labels": AUDIT},
        supervised_all_labels=BIG | {"seconds": None, "steps": None, "metrics": {}},
    )
    assert table["stage"] == ["parameters", "seconds", "steps", "acc.", "acc.", "selected", "of", "all", "selected"]
    assert table["val"] == ["test", "pool", "right", "right", "of"]
    numbers = ["305,510,032", "12345.6", "1,234,567", "100.00", "98.77"]
    assert table["round_0"] == [*numbers, "–", "–", "–"]
    assert table["round_1"] == [*numbers, "50.00", "100.00", "–"]
    assert table["supervised_all_labels"] == ["305,510,032", *["–"] * 7]
    assert "round_1_labels" not in table


def test_without_pseudo_labels_there_are_no_columns_of_them(capsys):
    table = lines_of(capsys, teacher=BIG, student_alone=BIG)
    assert table["stage"] == ["parameters", "seconds", "steps", "acc.", "acc."]
    assert "pseudo-labels" not in table


@pytest.mark.parametrize("width", [60, 300])
def test_another_console_is_taken_as_it_is(width):
    console = Console(width=width, file=StringIO())
    print_table({"name": "loop", "seed": 0, "device": "cpu", "stages": {"train": BIG}}, console)
    assert max(map(len, console.file.getvalue().splitlines())) <= width


def test_of_masks_the_mean_iou_is_shown(capsys):
    metrics = {"val/mean_iou": 0.5, "test/mean_iou": 0.25, "test/accuracy": 0.9}
    masks = BIG | {"metrics": metrics}
    audit = {
        "selected_share": 0.5,
        "accuracy": 0.9,
        "accuracy_selected": 0.95,
        "mean_iou": 0.4,
        "mean_iou_selected": 0.6,
    }
    table = lines_of(capsys, round_0=masks, round_1=masks | {"pseudo_labels": audit})
    assert table["round_0"] == ["305,510,032", "12345.6", "1,234,567", "50.00", "25.00", "–", "–", "–"]
    assert table["round_1"][-3:] == ["50.00", "40.00", "60.00"]
    assert table["stage"][3:5] == ["mIoU", "mIoU"]
