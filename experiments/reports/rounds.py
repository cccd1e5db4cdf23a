"""The pseudo-labels of each round, judged by the pool's true labels where they are known."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.audit_plots import draw_accuracy, draw_classes, draw_counts, draw_shares, unit_of
from experiments.guard import describe_verdict
from experiments.reports.document import Block, Bullets, Chart, Charts, Paragraph, Section, Table
from experiments.reports.drawing import NARROW, WIDE, as_chart, new_figure
from experiments.reports.reading import ReportedRun, stage_title
from experiments.reports.stages import number, without_empty_columns
from experiments.tables import percent

Audit = Mapping[str, Any]


def rounds_section(run: ReportedRun) -> Section | None:
    """Return the audit of all rounds, ``None`` of a run without pseudo-labels."""
    audits = run.audits
    if not audits:
        return None
    blocks: list[Block] = [round_table(audits)]
    if audits[-1]["accuracy"] is None:
        unknown = "How right the labels are is not known: the pool's true labels are not."
        blocks.append(Paragraph(unknown, is_note=True))
    else:
        note = "Right: by the pool's true labels, which no training saw."
        blocks.append(Paragraph(note, is_note=True))
    blocks.append(Charts(draw_rounds(audits)))
    verdicts = verdicts_of(run)
    if verdicts:
        blocks.append(Section("Who may teach", [Bullets(verdicts)]))
    blocks.append(Section(f"Class by class, round {len(audits)}", [class_table(audits[-1])], is_folded=True))
    return Section("Pseudo-labels round by round", blocks)


def round_table(audits: Sequence[Audit]) -> Table:
    """Return a row a round."""
    is_masks = "mean_iou" in audits[0]
    right = ("mean_iou", "mean_iou_selected") if is_masks else ("accuracy", "accuracy_selected")
    name = "mean IoU" if is_masks else "right"
    headings = ["labels for", "pool", "selected", f"share of {unit_of(audits[0])}, %", f"all: {name}, %"]
    headings += [f"selected: {name}, %", "calibration error, %", "changed since the round before, %"]
    rows = [
        [
            stage_title(audit["stage"]),
            number(audit["pool"]),
            number(audit["selected"]),
            percent(audit["selected_share"]),
            *(percent(audit[key]) for key in right),
            percent(audit["calibration_error"]),
            percent(changed_share(audit)),
        ]
        for audit in audits
    ]
    return without_empty_columns(Table(headings, rows))


def changed_share(audit: Audit) -> float | None:
    """Return the share of the labels, of masks of the pixels, that are not those of the round before."""
    whole = sum(row["pool"] for row in audit["per_class"])
    return None if audit["changed"] is None or not whole else audit["changed"] / whole


def draw_rounds(audits: Sequence[Audit]) -> list[Chart]:
    """Draw all rounds together, and the last one class by class; what needs the truth only where it is known."""
    names = [row["class"] for row in audits[-1]["per_class"]]
    last = f"in round {len(audits)}"
    drawings: list[tuple[Callable[..., None], str, str, float]] = [
        (draw_shares, "shares", "Selected and changed pseudo-labels, calibration error, round by round", NARROW),
        (draw_counts, "counts", f"Pseudo-labels by class {last}, all and selected", WIDE),
    ]
    if audits[-1]["accuracy"] is not None:
        right = "Right pseudo-labels round by round, of all and of the selected ones"
        drawings.insert(0, (draw_accuracy, "right", right, NARROW))
        by_class = f"Precision and recall of the pseudo-labels by class {last}"
        drawings.insert(2, (draw_classes, "classes", by_class, WIDE))
    charts = []
    for draw, name, text, width in drawings:
        figure = new_figure(2.9, width)
        draw(figure.subplots(), audits, names)
        charts.append(as_chart(f"pseudo_labels_{name}", figure, text, is_wide=width == WIDE))
    return charts


def verdicts_of(run: ReportedRun) -> list[str]:
    """Return a sentence for each student that was compared with its teacher."""
    return [
        describe_verdict(f"“{stage.title}”", guard, f"“{stage_title(guard['teacher'])}”") + "."
        for stage in run.stages
        if (guard := stage.record.get("guard"))
    ]


def class_table(audit: Audit) -> Table:
    """Return a row a class."""
    columns = {"pool": "in the pool", "selected": "selected"}
    shares = {
        "accuracy": "precision, %",
        "accuracy_selected": "precision of selected, %",
        "recall": "recall, %",
        "iou": "IoU, %",
    }
    rows = [
        [row["class"], *(number(row[key]) for key in columns), *(percent(row.get(key)) for key in shares)]
        for row in audit["per_class"]
    ]
    return without_empty_columns(Table(["class", *columns.values(), *shares.values()], rows))
