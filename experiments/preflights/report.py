"""The page that a preflight ends with: printed, and in Markdown."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.preflights.verdict import Facts, gain_of, points
from experiments.reports.markdown import escape
from experiments.studies.reporting import markdown_table
from experiments.tables import MEASURES, TITLES, WIDTH, percent

MOST_CLASSES = 20
NETWORKS = TITLES | {"teacher_on_training": "teacher, training images", "student_at_start": "student at start"}


@dataclass(frozen=True)
class Section:
    """A table with its title, and what there is to say of it."""

    title: str
    headings: list[str]
    rows: list[list[str]]
    note: str


def print_page(facts: Facts, console: Console | None = None) -> None:
    """Print the verdict, then what it rests on."""
    console = console or Console(width=max(WIDTH, Console().width))
    console.print(Text(title(facts), style="bold"))
    for line in verdict_lines(facts):
        console.print(Text(line))
    for section in sections(facts):
        table = Table(title=Text(section.title), box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
        for index, heading in enumerate(section.headings):
            table.add_column(Text(heading), justify="right" if index else "left", vertical="bottom", no_wrap=not index)
        for row in section.rows:
            table.add_row(*map(Text, row))
        console.print(table)
        console.print(Text(section.note))


def as_markdown(facts: Facts) -> str:
    """Return the page as Markdown."""
    parts = [f"# {title(facts)}", verdict_lines(facts)[0], "\n".join(f"- {line}" for line in verdict_lines(facts)[1:])]
    for section in sections(facts):
        headings = [heading.replace("\n", " ") for heading in section.headings]
        rows = [[escape(cell) for cell in row] for row in section.rows]
        parts += [f"## {section.title}", markdown_table(headings, rows), section.note]
    return "\n\n".join(part for part in parts if part) + "\n"


def title(facts: Facts) -> str:
    """Return what was measured, and where."""
    return (
        f"Preflight of {facts['name']}: {facts['source']}, seed {facts['seed']}, {facts['device']}, "
        f"{facts['seconds']:.0f} s"
    )


def verdict_lines(facts: Facts) -> list[str]:
    """Return the answer with its reason, then the notes."""
    verdict = facts["verdict"]
    return [f"{verdict['answer'].capitalize()}: {verdict['sentence']}", *verdict["notes"]]


def sections(facts: Facts) -> Iterator[Section]:
    """Yield the tables of the page."""
    yield of_networks(facts)
    yield of_classes(facts)
    if facts["forecast"] is not None:
        yield of_time(facts)


def of_networks(facts: Facts) -> Section:
    """Return what each network reaches on validation."""
    measure, validation = facts["measure"], facts["validation"]
    headings = ["network", "parameters", "ms an\nimage", f"{MEASURES[measure][0]},\n%"]
    headings += ["calibration\nerror, %", "loss", "agrees with\nteacher, %"]
    rows = [
        [
            NETWORKS[name],
            f"{network['parameters']:,}",
            "–" if network["latency_ms"] is None else f"{network['latency_ms']:.2f}",
            percent(network[measure]),
            percent(network["calibration_error"]),
            f"{network['loss']:.3f}",
            percent(network["agreement"]),
        ]
        for name, network in facts["networks"].items()
    ]
    of = "" if validation["images"] == validation["of"] else f" of {validation['of']:,}"
    note = (
        f"{validation['images']:,}{of} validation images; {facts['training_images']:,} labelled training images; no "
        f"test image. The teacher has {facts['capacity_ratio']:.1f} times the student's parameters. Saying the most "
        f"frequent class of everything reaches {percent(facts['chance'])} %."
    )
    if facts["gain"] is None:
        note += f" No short run: {facts['short_run']['reason']}"
    else:
        note += f" Distilled less alone: {gain_of(facts)}. Teacher less alone: {points(facts['lead'])}."
    return Section("Networks", headings, rows, note)


def of_classes(facts: Facts) -> Section:
    """Return each class, those first in which the student alone is furthest behind the teacher."""
    ordered = sorted(facts["classes"], key=lambda row: -1 if row["headroom"] is None else row["headroom"], reverse=True)
    shown = [name for name in ("teacher", "student_alone", "student_distilled") if name in facts["classes"][0]]
    counted, score = ("pixels", "IoU") if facts["measure"] == "mean_iou" else ("images", "accuracy")
    rows = [
        [row["name"], f"{row['count']:,}", *(percent(row[name]) for name in shown), percent(row["headroom"])]
        for row in ordered[:MOST_CLASSES]
    ]
    note = "Headroom: points by which the student alone is behind the teacher after its short run."
    if len(ordered) > MOST_CLASSES:
        note += f" The {MOST_CLASSES} largest of {len(ordered):,} classes."
    headings = ["class", counted, *(NETWORKS[name] for name in shown), "headroom"]
    return Section(f"Classes ({score} on validation, %)", headings, rows, note)


def of_time(facts: Facts) -> Section:
    """Return what the whole distillation will take."""
    rows = [
        [
            NETWORKS.get(stage, stage),
            ranged([1000 * value for value in row["batch_seconds"]]) if "batch_seconds" in row else "–",
            ranged(row["epoch_seconds"]) if "epoch_seconds" in row else "–",
            ranged(row["seconds"]),
        ]
        for stage, row in facts["forecast"].items()
    ]
    memory = facts["memory"]
    on_device = f", {megabytes(memory['device_bytes'])} on the GPU" if memory["device_bytes"] is not None else ""
    note = (
        f"Mean, and what the fastest and the slowest tenth of the batches would make of it; one process, after "
        f"start-up, {facts['short_run']['of']:,} batches a student. Memory: {megabytes(memory['resident_bytes'])} at "
        f"most in this process{on_device}; a student's checkpoint has "
        f"{megabytes(memory['checkpoint_bytes'])}, two a stage."
    )
    return Section("What distill will take", ["stage", "ms a batch", "s an epoch", "s in all"], rows, note)


def ranged(values: list[float]) -> str:
    """Return a mean and its range; the mean alone where there is no other."""
    mean, low, high = map(rounded, values)
    return mean if low == high else f"{mean} ({low}–{high})"


def rounded(number: float) -> str:
    """Return a number with three digits, or as a whole one."""
    return f"{number:.3g}" if number < 100 else f"{number:,.0f}"


def megabytes(number: int) -> str:
    """Return bytes in megabytes."""
    return f"{rounded(number / 1e6)} MB"
