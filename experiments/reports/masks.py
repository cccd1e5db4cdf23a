"""What a run with masks found: the IoU of each class, and its pictures."""

import math

import torch

from experiments.mask_plots import MOST_NAMES, iou_figure
from experiments.reports.document import Block, Charts, Paragraph, Picture, Section
from experiments.reports.drawing import as_chart
from experiments.reports.reading import ReportedRun, ReportedStage
from lightning_modules.segmentation_metrics import class_ious

PICTURES = {
    "overlays": "Test images, their masks, and the network's",
    "worst": "The test images that went worst",
}


def masks_section(run: ReportedRun, stage: ReportedStage) -> Section:
    """Return the IoU of each class and the pictures that are there."""
    ious = ious_of(run, stage)
    blocks: list[Block] = []
    if ious:
        known = [iou for iou in ious.values() if not math.isnan(iou)]
        mean = f"; the mean is {100 * sum(known) / len(known):.2f} %" if known else ""
        figure = iou_figure(list(ious.values()), list(ious))
        text = f"IoU of each of {len(ious)} classes on test{mean}"
        blocks.append(Charts([as_chart("class_iou", figure, text, is_wide=len(ious) > MOST_NAMES)]))
    else:
        blocks.append(Paragraph("No IoU by class: the run has kept no confusion matrix.", is_note=True))
    for name, text in PICTURES.items():
        paths = (stage.directory / f"{name}.png", run.directory / f"{name}.png")
        found = next((path for path in paths if path.is_file()), None)
        if found is not None:
            blocks.append(Picture(name, found.read_bytes(), text))
    if not any(isinstance(block, Picture) for block in blocks):
        blocks.append(Paragraph("No pictures of masks: the run has drawn none.", is_note=True))
    return Section(f"Masks of “{stage.title}”", blocks)


def ious_of(run: ReportedRun, stage: ReportedStage) -> dict[str, float]:
    """Return the IoU of each class by name, NaN for classes that neither occur nor are predicted."""
    if stage.confusion is not None:
        names, matrix = stage.confusion
        return dict(zip(names, class_ious(torch.from_numpy(matrix).double()).tolist(), strict=True))
    known = run.results.get("masks", {}).get("class_iou", {})
    return {name: math.nan if iou is None else iou for name, iou in known.items()}
