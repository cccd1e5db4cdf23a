"""The tables of a comparison: all there is to know, within a line's width."""

import io

import pytest
from rich.console import Console

from experiments.comparisons.tables import print_comparison, to_markdown


def comparison(*settings: str, num_seeds: int = 3) -> dict:
    """Return a comparison of settings with a teacher and a student each."""
    seeds = list(range(num_seeds))
    of_all = {"seeds": seeds, "over": "seeds and test images"}
    numbers = {"images": 46_080, "seconds": {"mean": 9.04, "std": 0.5}, "values": [0.96, 0.98, 1.0][:num_seeds]}
    rows = [
        {"setting": name, "stage": stage, "parameters": 65_834, "steps": steps, **numbers, "low": 0.955, "high": 1.0}
        for name in settings
        for stage, steps in (("student_alone", 720), ("final", 285))
    ]
    first, second = ({"setting": settings[-1], "stage": stage} for stage in ("student_alone", "final"))
    pair = {"first": first, "second": second, "difference": 0.00125, "low": -0.01, "high": 0.02}
    return {
        "seeds": seeds,
        "jobs": 2,
        "measure": "accuracy",
        "device": "cpu (2 cores)",
        "versions": {"torch": "2.14.1"},
        "rows": [row | of_all for row in rows],
        "pairs": [pair | of_all | {"distinguishable": False, "steps_match": False}],
    }


def printed(content: dict) -> str:
    console = Console(file=io.StringIO(), width=100)
    print_comparison(content, console)
    return console.file.getvalue()


def test_markdown_has_both_tables_and_their_notes():
    text = to_markdown(comparison("digits"))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == ("| | seeds | parameters | steps | images seen | seconds | test accuracy, % | 95 % interval |")
    assert "| student alone | 3 | 65,834 | 720 | 46,080 | 9.0 | 98.0 ± 2.0 | 95.5 to 100.0 |" in lines
    assert (
        "| last student − student alone | +0.12 | -1.00 to +2.00 | "
        "not distinguishable; not matched: 720 and 285 steps |"
    ) in lines
    assert "mean ± standard deviation of seeds 0, 1, 2; cpu (2 cores), torch 2.14.1; 2 runs at a time." in lines
    assert "95 % intervals (bootstrap, 10,000 resamples) speak of other seeds and other test images." in lines
    assert "Bootstrap intervals of 3 seeds can be too narrow: where seeds alone vary, about 75 % of them" in text


def test_a_line_is_no_wider_than_a_hundred_characters():
    text = printed(comparison("distilled", "cold_teacher"))
    assert max(map(len, text.splitlines())) <= 100
    for words in ("distilled: student alone ", "cold_teacher: last student ", "95.5 to 100.0", "98.0 ± 2.0", "65,834"):
        assert words in text
    assert "not distinguishable; not matched:" in text
    assert "…" not in text


def test_what_differs_between_rows_is_said_of_each():
    content = comparison("digits")
    content["pairs"][0] |= {"over": "seeds", "distinguishable": True, "steps_match": True}
    text = to_markdown(content)
    assert "speak of other seeds and other test images (student alone, last student)." in text
    assert "speak of other seeds, on the same test images (last student − student alone)." in text
    assert "not distinguishable" not in text
    assert "not matched" not in text


def test_few_seeds_are_warned_of_where_they_are_drawn():
    assert "too narrow" not in to_markdown(comparison("digits", num_seeds=5))
    few = to_markdown(comparison("digits", num_seeds=4))
    assert "Bootstrap intervals of 4 seeds can be too narrow: where seeds alone vary, about 80 %" in few


def test_seeds_alone_have_students_interval():
    content = comparison("digits", num_seeds=5)
    content["pairs"][0]["over"] = "seeds"
    assert "95 % intervals (Student's t) speak of other seeds, on the same test images" in to_markdown(content)


def test_one_seed_is_said_to_be_one():
    content = comparison("digits", num_seeds=1)
    for each in (*content["rows"], *content["pairs"]):
        each["over"] = "test images"
    text = to_markdown(content)
    assert "seed 0 alone; cpu" in text
    assert "speak of other test images, for the networks of one seed alone." in text
    assert "too narrow" not in text


@pytest.mark.parametrize("missing", ["steps", "images"])
def test_a_dash_stands_where_there_is_no_number(missing):
    content = comparison("digits")
    content["rows"][0] |= {missing: None, "seconds": {"mean": None, "std": None}, "low": None, "high": None}
    content["pairs"][0] |= {"low": None, "high": None, "distinguishable": None}
    (line,) = (line for line in to_markdown(content).splitlines() if line.startswith("| student alone"))
    assert line.count("–") == 3
    assert "one value alone: no interval" in to_markdown(content)
