"""The table of the study of networks."""

from typing import Any

from experiments.studies.reporting import markdown_table
from experiments.studies.settings import NetworksStudy
from experiments.tables import percent

HEADINGS = ("network", "parameters", "input", "alone", "distilled", "its student", "seconds")
REFERENCES = ("teacher", "student_alone")


def format_table(results: dict[str, Any], command: NetworksStudy, num_test: int) -> str:
    """Return a row a network in Markdown, and what all rows have in common.

    Args:
        results: what ``results.json`` holds.
        command: what the user set.
        num_test: test images that accuracies were measured on.
    """
    stages = results["stages"]
    rows = [cells(name, record) for name, record in stages.items() if name not in REFERENCES]
    if not rows:
        return "no network was trained\n"
    first = next(record for name, record in stages.items() if name not in REFERENCES)
    precision, optimizer = command.trainer.precision, command.optimizer
    distilled = describe_distillation(stages, command) if command.distill else ""
    return (
        f"{command.data.source}: accuracy in % on {num_test:,} test images, seed {results['seed']}, n = 1. Every "
        f"training: {first['steps']:,} steps of {command.data.batch_size} images, {optimizer.name}, peak learning rate "
        f"{optimizer.lr:g}, {precision}, {command.stem} stem. {distilled}Seconds of the training alone, "
        f"{results['device']}, torch {results['versions']['torch']}.\n\n{markdown_table(HEADINGS, rows)}\n"
    )


def describe_distillation(stages: dict[str, Any], command: NetworksStudy) -> str:
    """Return what the columns of distillation are."""
    accuracy = {name: percent(stages[name]["metrics"]["test/accuracy"]) for name in REFERENCES}
    return (
        f"Alone; distilled from {command.teacher.name} ({accuracy['teacher']}); its student: {command.student.name} "
        f"distilled from the network trained alone (without a teacher: {accuracy['student_alone']}). "
    )


def cells(name: str, record: dict[str, Any]) -> tuple[str, ...]:
    """Return a network's numbers as text."""
    metrics = record["metrics"]
    accuracies = (metrics.get(f"test/accuracy{kind}") for kind in ("", "_distilled", "_of_student"))
    return (
        name,
        f"{record['parameters']:,}",
        str(record["input_size"]),
        *map(percent, accuracies),
        f"{record['seconds']:.0f}",
    )
