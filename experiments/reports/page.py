"""Composes a report of one or several runs."""

from collections.abc import Sequence

from experiments.reports.again import again_section
from experiments.reports.comparison import comparison_blocks
from experiments.reports.curves import curves_section
from experiments.reports.document import Block, Page, Section, Table
from experiments.reports.masks import masks_section
from experiments.reports.mistakes import examples_section, mistakes_section
from experiments.reports.opening import opening
from experiments.reports.reading import Comparison, ReportedRun
from experiments.reports.rounds import rounds_section
from experiments.reports.stages import (
    gains_section,
    stage_cells,
    stage_headings,
    stages_section,
    without_empty_columns,
)
from experiments.reports.tradeoffs import tradeoffs_section
from experiments.tables import MEASURES

COMMANDS = {
    "train": "Training",
    "distill": "Distillation",
    "self-train": "Self-training",
    "segment": "Segmentation",
    "evaluate": "Evaluation",
}
Source = ReportedRun | Comparison


def compose(sources: Sequence[Source]) -> Page:
    """Return the report of one source, or of several, which lie side by side first."""
    if len(sources) == 1:
        return Page(name_of(sources[0]), subtitle_of(sources[0]), blocks_of(sources[0]))
    runs = [source for source in sources if isinstance(source, ReportedRun)]
    folded = [
        Section(f"{name_of(source)}: {subtitle_of(source)}", blocks_of(source), is_folded=True) for source in sources
    ]
    names = ", ".join(map(name_of, sources))
    return Page(f"{len(sources)} runs", names, [*side_by_side(runs), *folded])


def side_by_side(runs: Sequence[ReportedRun]) -> list[Block]:
    """Return tables and drawings of the stages of all runs, those of a measure together."""
    blocks: list[Block] = []
    for measure in dict.fromkeys(run.measure for run in runs):
        chosen = [run for run in runs if run.measure == measure]
        rows = [[name_of(run), *stage_cells(stage, measure)] for run in chosen for stage in run.stages]
        table = Table(["run", *stage_headings(measure)], rows, num_text_columns=3)
        blocks += [
            Section(f"All stages by {MEASURES[measure][0]}", [without_empty_columns(table)]),
            tradeoffs_section(chosen),
        ]
    return blocks


def name_of(source: Source) -> str:
    """Return what a run or a comparison is called."""
    content = source.results if isinstance(source, ReportedRun) else source.content
    return str(content["name"])


def subtitle_of(source: Source) -> str:
    """Return what kind of run it is, on what, where."""
    if isinstance(source, Comparison):
        return f"Comparison of settings over {len(source.content['seeds'])} seeds"
    results = source.results
    images = source.config.get("data", {}).get("source", "unknown images")
    command = COMMANDS.get(results["command"], results["command"])
    return f"{command} on {images}, seed {results['seed']}, {results['device']}"


def blocks_of(source: Source) -> list[Block]:
    """Return the whole report of one source."""
    if isinstance(source, Comparison):
        return comparison_blocks(source)
    sections = [stages_section(source), gains_section(source), curves_section(source), rounds_section(source)]
    if len(source.stages) > 1:
        sections.append(tradeoffs_section([source]))
    final = source.final
    if final is not None:
        sections.append(mistakes_section(final))
        if source.measure == "mean_iou":
            sections.append(masks_section(source, final))
        else:
            sections.append(examples_section(final))
    sections.append(again_section(source))
    return [*opening(source), *(section for section in sections if section is not None)]
