"""Supervised semantic segmentation, and pictures of what the network finds."""

from typing import Any

from experiments.building import build_source, has_masks
from experiments.commands import SegmentCommand
from experiments.mask_report import report_masks
from experiments.run import Run
from experiments.tables import print_table
from experiments.tasks import Task
from experiments.train import train
from experiments.training import Fitting, inference_precision
from lightning_modules.checkpoints import load_network


def run(command: SegmentCommand) -> dict[str, Any]:
    """Train, print the table, draw the pictures, return what ``results.json`` holds.

    Raises:
        ValueError: the source's targets are no masks.
    """
    source = build_source(command.data)
    if not has_masks(source):
        raise ValueError(
            f"data.source: got {source.name}, whose targets are classes, expected one whose targets are masks, such as "
            "digit_scenes; use the command train"
        )
    pipeline = Run("segment", command)
    record = train(pipeline, command, Task(source, mask_loss=command.mask_loss, boundary=command.boundary))
    if not pipeline.is_main:
        return pipeline.finish(source.num_skipped)
    network = load_network(pipeline.directory / record["checkpoint"])
    device = Fitting(pipeline).device(command.trainer)
    masks = report_masks(
        network,
        source.test,
        source.class_names,
        pipeline.directory,
        device,
        num_examples=command.num_examples,
        precision=inference_precision(command.trainer),
    )
    results = pipeline.finish(source.num_skipped, masks=masks)
    print_table(results)
    pipeline.say(f"pictures of the test images: {pipeline.directory}")
    return results
