"""What is read of a run on validation, while it goes on and when it has ended."""

import pytest

from experiments.sweeps.following import Followed, epochs_of, follow

METRICS = """step,epoch,test/accuracy,train/accuracy,train/loss,train/loss_step,val/accuracy,val/loss
9,0,,0.5,2.0,,0.25,2.5
14,1,,,,1.5,,
19,1,,0.6,1.0,,0.5,1.5
20,2,,,,,0.5,1.5
"""
TESTED = METRICS.replace("20,2,,", "20,2,0.4,")


def write(run_directory, stage: str, text: str) -> None:
    directory = run_directory / "stages" / stage
    directory.mkdir(parents=True)
    (directory / "metrics.csv").write_text(text)


@pytest.mark.parametrize("text", [METRICS, TESTED])
def test_only_epochs_count(tmp_path, text):
    write(tmp_path, "0-train", text)
    expected = [{"val/accuracy": 0.25, "val/loss": 2.5}, {"val/accuracy": 0.5, "val/loss": 1.5}]
    assert epochs_of(tmp_path, "train") == expected
    assert epochs_of(tmp_path, "teacher") == []


def test_the_students_of_all_rounds_follow_each_other(tmp_path):
    for number, accuracy in ((1, 0.1), (2, 0.2), (10, 0.3)):
        write(tmp_path, f"{2 * number}-round_{number}", f"step,train/loss,val/accuracy\n0,1.0,{accuracy}\n")
    write(tmp_path, "1-round_1_labels", "step,train/loss,val/accuracy\n0,1.0,0.9\n")
    followed = follow("self-train", num_rounds=10)
    assert followed.epochs(tmp_path) == [{"val/accuracy": accuracy} for accuracy in (0.1, 0.2, 0.3)]


def test_what_a_run_reached_is_that_of_its_network():
    stages = {name: {"metrics": {"val/accuracy": value}} for name, value in (("round_1", 0.1), ("finetuned", 0.2))}
    results = {"name": "loop", "stages": stages, "summary": {"final": "finetuned"}}
    assert follow("self-train", num_rounds=1).reached(results) == {"val/accuracy": 0.2}
    assert follow("self-train", num_rounds=1, stage="round_1").reached(results) == {"val/accuracy": 0.1}
    with pytest.raises(ValueError, match=r"stage: got 'round_2', expected one that loop has: \['round_1', 'finetuned'"):
        follow("self-train", stage="round_2").reached(results)


def test_each_command_is_about_a_network():
    assert follow("distill") == Followed(("student_distilled",), "student_distilled")
    assert follow("segment") == follow("train") == Followed(("train",), "train")
    assert follow("distill", stage="teacher") == Followed(("teacher",), "teacher")
