"""What a report says, block by block."""

import json

import numpy as np
import pytest

from experiments.reports.curves import draw_curves
from experiments.reports.document import Bullets, Charts, Gallery, Headline, Paragraph, Picture, Section, Table
from experiments.reports.drawing import report_style
from experiments.reports.mistakes import confused_pairs, in_two_colors
from experiments.reports.opening import opening
from experiments.reports.page import compose
from experiments.reports.reading import read_source
from experiments.reports.rounds import rounds_section
from experiments.reports.stages import gains_section
from experiments.reports.tradeoffs import Network, pareto_front
from tests.experiments.reports.runs import (
    NAMES,
    trained,
    write_comparison,
    write_distillation,
    write_run,
    write_segmentation,
    write_self_training,
)


def composed(*directories):
    with report_style():
        return compose([read_source(directory) for directory in directories])


@pytest.fixture(scope="module")
def self_training(tmp_path_factory):
    return composed(write_self_training(tmp_path_factory.mktemp("runs") / "loop"))


def everything(blocks):
    """Return all blocks, those of sections too, one after the other."""
    found = []
    for block in blocks:
        found += [block, *(everything(block.blocks) if isinstance(block, Section) else [])]
    return found


def of_kind(blocks, kind):
    return [block for block in everything(blocks) if isinstance(block, kind)]


def words(blocks):
    bullets = [item for block in of_kind(blocks, Bullets) for item in block.items]
    return "\n".join([*(block.text for block in of_kind(blocks, Paragraph)), *bullets])


def table_with(blocks, heading):
    return next(table for table in of_kind(blocks, Table) if heading in table.headings)


def charts(blocks):
    return {chart.name: chart for block in of_kind(blocks, Charts) for chart in block.items}


def test_the_first_screen_of_self_training_says_it_all(self_training):
    what, on_what, headline, certainty = self_training.blocks[:4]
    assert self_training.subtitle == "Self-training on digits, seed 3, cpu (2 cores)"
    assert "A first teacher, cnn_tiny with 1,946 parameters, learned from the labelled images alone for 40 steps." in (
        what.text
    )
    assert "In 2 rounds" in what.text
    assert "The run ends with the student of round 2: cnn_tiny with 16,794 parameters, after 40 steps." in what.text
    expected = "Images: digits, 3 classes; labelled: 10 of each class; unlabelled: 600; "
    assert on_what.text == f"{expected}validation, to choose the epoch: 50; test: 200."
    assert headline == Headline(
        "+5.00 points",
        "of accuracy on test, from 85.00 % (“labels alone”) to 90.00 % (“student of round 2”); "
        "95 % interval +1.00 to +9.00",
    )
    said = " ".join(certainty.items)
    for words_of_it in ("on the same labels alone", "excludes 0", "n = 1", "tested once", "the better of two"):
        assert words_of_it in said


def test_counts_of_images_go_before_settings(tmp_path):
    directory = write_distillation(tmp_path / "run")
    results = json.loads((directory / "results.json").read_text())
    counts = {"labeled": 30, "unlabeled": 1_222, "validation": 45, "test": 200}
    results["stages"]["student_distilled"]["num_images"] = counts
    (directory / "results.json").write_text(json.dumps(results))
    assert opening(read_source(directory))[1].text == (
        "Images: digits, 3 classes; labelled: 30 (10 of each class); unlabelled: 1,222; validation, to choose the "
        "epoch: 45; test: 200."
    )


def test_an_interval_that_holds_0_is_not_called_a_gain(tmp_path):
    run = read_source(write_self_training(tmp_path / "run", low=-0.01))
    assert "the two networks are not distinguishable" in words(opening(run))
    (table,) = of_kind(gains_section(run).blocks, Table)
    assert next(row for row in table.rows if row[0] == "student of round 2") == [
        "student of round 2",
        "+5.00",
        "-1.00 to +9.00",
        "not distinguishable",
    ]


def test_the_stages_table_has_the_records_numbers(self_training):
    table = table_with(self_training.blocks, "parameters")
    (number,) = table.strong
    assert table.rows[number] == [
        "student of round 2",
        "cnn_tiny",
        "90.00",
        "85.06 to 93.43",
        "90.00",
        "16,794",
        "40",
        "1,280",
        "12.5",
        "0.25",
    ]


def test_the_rounds_are_audited(self_training):
    assert table_with(self_training.blocks, "pool").rows == [
        ["student of round 1", "600", "300", "50.00", "90.00", "90.00", "4.00", "–"],
        ["student of round 2", "600", "450", "75.00", "90.00", "90.00", "4.00", "10.00"],
    ]
    assert "“student of round 1” is rejected, “first teacher” stays" in words(self_training.blocks)
    assert [row[:3] for row in table_with(self_training.blocks, "precision, %").rows] == [
        [name, "200", "100"] for name in NAMES
    ]


def test_all_drawings_are_there(self_training):
    assert list(charts(self_training.blocks)) == [
        "training_loss",
        "validation",
        "pseudo_labels_right",
        "pseudo_labels_shares",
        "pseudo_labels_classes",
        "pseudo_labels_counts",
        "against_parameters",
        "against_latency_ms",
        "confusion",
        "reliability",
    ]
    assert "student of round 2 ends at 0.75" in charts(self_training.blocks)["training_loss"].text
    assert "expected calibration error" in charts(self_training.blocks)["reliability"].text


def test_more_stages_than_a_drawing_holds_get_one_each(tmp_path):
    stages = {f"stage {number}": trained(0.8 + number / 100) for number in range(8)}
    with report_style():
        run = read_source(write_run(tmp_path / "run", "distill", stages))
        svg = draw_curves(run.stages, "val/accuracy", "accuracy", "validation").svg
    assert all(f">stage {number}<" in svg for number in range(8))


def test_examples_say_what_was_true_and_what_predicted(self_training):
    galleries = {gallery.name: gallery.items for gallery in of_kind(self_training.blocks, Gallery)}
    ((_, mistake),) = galleries["confident_mistake"]
    assert mistake == [f"true: {NAMES[0]}", f"predicted: {NAMES[1]}", "sure: 87.5 %", "id 1003"]
    ((_, unsure),) = galleries["least_sure"]
    assert unsure[0] == "true: unknown"


def test_pseudo_labels_of_unknown_truth_are_not_judged(tmp_path):
    directory = write_self_training(tmp_path / "run")
    results = json.loads((directory / "results.json").read_text())
    for record in results["stages"].values():
        unknown = {"accuracy": None, "accuracy_selected": None, "calibration_error": None}
        record.get("pseudo_labels", {}).update(unknown)
    (directory / "results.json").write_text(json.dumps(results))
    with report_style():
        blocks = rounds_section(read_source(directory)).blocks
    assert "the pool's true labels are not" in words(blocks)
    assert list(charts(blocks)) == ["pseudo_labels_shares", "pseudo_labels_counts"]
    assert not any("right" in heading for heading in table_with(blocks, "pool").headings)


def test_old_runs_have_a_report_that_says_what_is_missing(tmp_path):
    directory = write_distillation(tmp_path / "run", files=False)
    results = json.loads((directory / "results.json").read_text())
    for record in results["stages"].values():
        del record["images"], record["latency_ms"]
    (directory / "results.json").write_text(json.dumps(results))
    page = composed(directory)
    headings = table_with(page.blocks, "parameters").headings
    assert "images seen" not in headings
    assert "95 % interval" not in headings
    assert "against_latency_ms" not in charts(page.blocks)
    said = words(page.blocks)
    for missing in ("No curves", "No confusion matrix", "No examples", "Latencies were not measured", "No intervals"):
        assert missing in said
    assert page.blocks[2].text.endswith("no interval")


def test_a_run_with_masks_has_their_ious_and_pictures(tmp_path):
    page = composed(write_segmentation(tmp_path / "run"))
    assert page.blocks[2] == Headline("55.00 %", "mean IoU of “the network” on test; no interval")
    assert "the mean is 41.82 %" in charts(page.blocks)["class_iou"].text  # of 80/100, 50/110 and 0/60
    assert [picture.name for picture in of_kind(page.blocks, Picture)] == ["overlays"]
    assert table_with(page.blocks, "taken for").rows[0] == [NAMES[1], NAMES[2], "50", "50.0"]


def test_several_runs_lie_side_by_side_first(tmp_path):
    page = composed(
        write_distillation(tmp_path / "a"), write_segmentation(tmp_path / "b"), write_comparison(tmp_path / "c")
    )
    tables = [table for table in of_kind(page.blocks, Table) if table.headings[0] == "run"]
    assert [row[:2] for row in tables[0].rows] == [["a", "teacher"], ["a", "student alone"], ["a", "student distilled"]]
    assert [row[:2] for row in tables[1].rows] == [["b", "the network"]]
    assert [block.title.split(":")[0] for block in page.blocks if block.is_folded] == ["a", "b", "c"]


def test_a_comparison_has_its_differences(tmp_path):
    page = composed(write_comparison(tmp_path / "run"))
    assert of_kind(page.blocks, Table)[-1].rows[0][1:3] == ["+5.00", "+2.00 to +8.00"]
    assert "<i>warm|" in charts(page.blocks)["differences"].text
    assert "mean ± standard deviation of seeds 0, 1, 2" in words(page.blocks)


def test_a_comparison_of_single_values_has_no_intervals(tmp_path):
    page = composed(write_comparison(tmp_path / "run", low=None))
    assert of_kind(page.blocks, Table)[-1].rows[0][2] == "–"


def test_the_front_has_what_none_beats_in_both():
    costs_and_values = [(1, 0.5), (2, 0.4), (2, 0.7), (3, 0.7), (4, 0.9)]
    networks = [Network(str(i), i, i, {"parameters": c}, v, None) for i, (c, v) in enumerate(costs_and_values)]
    assert [network.name for network in pareto_front(networks, "parameters")] == ["0", "2", "4"]


def test_confusion_is_blue_where_right_and_stronger_where_more():
    colors = in_two_colors(np.array([[1.0, 0.0], [0.25, 0.75]]))
    assert colors[0, 0, 2] > colors[0, 0, 0]
    assert colors[1, 0, 0] > colors[1, 0, 2]
    assert colors[..., 3] == pytest.approx(0.75 * np.array([[1, 0], [0.5, 0.75**0.5]]))


def test_the_most_frequent_mistakes_come_first():
    matrix = np.array([[5, 1, 0], [3, 7, 0], [0, 2, 8]])
    assert confused_pairs(("a", "b", "c"), matrix, "images").rows == [
        ["b", "a", "3", "30.0"],
        ["c", "b", "2", "20.0"],
        ["a", "b", "1", "16.7"],
    ]
