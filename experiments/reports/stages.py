"""Tables of a run's stages: how large, how long, how good, and how much better than the baseline."""

from collections.abc import Callable, Sequence
from typing import Any

from experiments.intervals import Interval
from experiments.reports.document import Block, Paragraph, Section, Table
from experiments.reports.gains import Gain, accuracy_interval, gain
from experiments.reports.reading import ReportedRun, ReportedStage
from experiments.tables import MEASURES, percent

NOTHING = "–"


def stages_section(run: ReportedRun) -> Section:
    """Return the stages' table."""
    final = next((number for number, stage in enumerate(run.stages) if stage is run.final), -1)
    rows = [stage_cells(stage, run.measure) for stage in run.stages]
    table = without_empty_columns(
        Table(stage_headings(run.measure), rows, num_text_columns=2, strong=frozenset([final]))
    )
    return Section("Networks and stages", [table, Paragraph(reading_hint(run), is_note=True)])


def stage_headings(measure: str) -> list[str]:
    """Return the headings of ``stage_cells``."""
    name = MEASURES[measure][0]
    reached = [f"test {name}, %", "95 % interval", f"validation {name}, %"]
    return ["stage", "network", *reached, "parameters", "steps", "images seen", "seconds", "ms an image"]


def stage_cells(stage: ReportedStage, measure: str) -> list[str]:
    """Return a stage's numbers as text, a dash where there is none."""
    record = stage.record
    return [
        stage.title,
        stage.network or NOTHING,
        percent(stage.metric(f"test/{measure}")),
        ends(accuracy_interval(stage.predictions)),
        percent(stage.metric(f"val/{measure}")),
        number(record.get("parameters")),
        number(record.get("steps")),
        number(record.get("images")),
        number(record.get("seconds"), "{:,.1f}"),
        number(record.get("latency_ms"), "{:,.2f}"),
    ]


def reading_hint(run: ReportedRun) -> str:
    """Return how the stages' table is read."""
    hint = "The row of the network that the run ends with stands out. Seconds are those of training."
    if any("latency_ms" in stage.record for stage in run.stages):
        hint += f" Milliseconds are those of one image by itself, on {run.results['device']}."
    if any(stage.predictions is not None for stage in run.stages):
        return f"{hint} Intervals are over the test images (Wilson's score interval)."
    missing = (
        "of masks, predictions are not kept image by image"
        if run.measure == "mean_iou"
        else ("there is no predictions.parquet, which runs of today keep")
    )
    return f"{hint} No intervals: {missing}."


def gains_section(run: ReportedRun) -> Section | None:
    """Return what each stage gained over the baseline, ``None`` where there is no baseline."""
    baseline = run.baseline
    if baseline is None:
        return None
    gains = [each for stage in run.stages if stage is not baseline and (each := gain(run, stage, baseline))]
    if not gains:
        return None
    rows = [[each.stage.title, points(each.difference), points_interval(each.interval), each.verdict] for each in gains]
    final = frozenset(index for index, each in enumerate(gains) if each.stage is run.final)
    headings = ["stage", f"{MEASURES[run.measure][0]}, points", "95 % interval", "verdict"]
    blocks: list[Block] = [
        Paragraph(f"On test, less “{baseline.title}”, network by network."),
        without_empty_columns(Table(headings, rows, strong=final)),
        Paragraph(gains_hint(gains), is_note=True),
    ]
    return Section("Gains over the baseline", blocks)


def gains_hint(gains: Sequence[Gain]) -> str:
    """Return how the gains' table is read, and why intervals are missing."""
    hint = (
        "Intervals are of a paired bootstrap over the test images, each by itself; an interval that holds 0 does not "
        "tell the two networks apart."
    )
    if all(each.interval is not None for each in gains):
        return hint
    reason = "they need the predictions of both networks, image by image, or the run's own comparison of the two"
    return f"{hint} Where there is none: {reason}."


def without_empty_columns(table: Table) -> Table:
    """Return a table without the columns of numbers that have nothing but dashes."""
    kept = [
        column
        for column in range(len(table.headings))
        if column == 0 or any(row[column] != NOTHING for row in table.rows)
    ]
    return Table(
        [table.headings[column] for column in kept],
        [[row[column] for column in kept] for row in table.rows],
        sum(column < table.num_text_columns for column in kept),
        table.strong,
        table.caption,
    )


def number(value: float | None, form: str = "{:,}") -> str:
    """Return a number as text, a dash for none."""
    return NOTHING if value is None else form.format(value)


def points(fraction: float | None) -> str:
    """Return a difference of fractions in points of a hundred, with its sign."""
    return NOTHING if fraction is None else f"{100 * fraction:+.2f}"


def ends(interval: Interval | None, form: Callable[[Any], str] = percent) -> str:
    """Return both ends of an interval, a dash for none."""
    return NOTHING if interval is None else f"{form(interval.low)} to {form(interval.high)}"


def points_interval(interval: Interval | None) -> str:
    """Return both ends of the interval of a difference, in points."""
    return ends(interval, points)
