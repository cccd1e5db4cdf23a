"""Evaluation of a checkpoint."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

from lightning import LightningDataModule
from torch import nn
from torch.utils.data import DataLoader

from datamodules.batch import Batch, PixelBatch
from datamodules.labeled import LabeledDataModule
from experiments.building import build_labeled, build_source, has_masks
from experiments.building_networks import require_fits
from experiments.callbacks import StopOnSignals
from experiments.class_names import require_same_classes
from experiments.commands import EvaluateCommand
from experiments.mask_report import report_masks
from experiments.run import Run
from experiments.tables import print_table
from experiments.tasks import Task
from experiments.training import Fitting, create_trainer, inference_precision
from lightning_modules.checkpoints import load_network
from lightning_modules.nearest_neighbors import NearestNeighborProbe


def run(command: EvaluateCommand) -> dict[str, Any]:
    """Evaluate on validation and test, print the table, return what ``results.json`` holds."""
    network = load_network(command.checkpoint)
    source = build_source(command.data)
    require_fits(network, source, f"checkpoint {command.checkpoint}")
    require_same_classes(command.checkpoint, source, "checkpoint")
    if command.knn and has_masks(source):
        raise ValueError(f"knn: got true, expected false: {source.name} has masks, and neighbours vote for one class")
    if command.name is None:  # each checkpoint that is evaluated has a directory of its own
        digest = hashlib.sha256(str(Path(command.checkpoint).resolve()).encode()).hexdigest()
        command = dataclasses.replace(command, name=f"evaluate-{digest[:8]}")
    pipeline = Run("evaluate", command)
    data = build_labeled(source, command)
    module = Task(source).supervised(network)
    directory = pipeline.directory / "stages" / "0-evaluate"
    record = Fitting(pipeline).evaluate(module, data, command.trainer, directory, command.checkpoint)
    if command.knn:
        metrics, used = evaluate_neighbors(network, data, command, pipeline, "val/loss" in record["metrics"])
        record = record | {"metrics": record["metrics"] | metrics, "knn_neighbors": used}
    pipeline.records["evaluate"] = record | {"evaluated": command.checkpoint}
    masks: dict[str, Any] = {}
    if has_masks(source) and pipeline.is_main:
        device = Fitting(pipeline).device(command.trainer)
        masks["masks"] = report_masks(
            network,
            source.test,
            source.class_names,
            pipeline.directory,
            device,
            batch_size=data.eval_batch_size,
            precision=inference_precision(command.trainer),
        )
    results = pipeline.finish(source.num_skipped, **masks)
    if pipeline.is_main:
        print_table(with_neighbors(results))
    return results


class LabeledBank(LightningDataModule):
    """The labelled training images as a nearest-neighbour probe reads them: each once, un-augmented.

    Args:
        labeled: the labelled data.
    """

    def __init__(self, labeled: LabeledDataModule) -> None:
        super().__init__()
        self.labeled = labeled

    def predict_dataloader(self) -> DataLoader[PixelBatch]:
        """Return the labelled training images, each process its share."""
        return self.labeled.eval_dataloader(self.labeled.train)

    def on_after_batch_transfer(self, batch: PixelBatch, dataloader_idx: int) -> Batch:
        """Bring the pixels to ``[0, 1]``."""
        return self.labeled.on_after_batch_transfer(batch, dataloader_idx)


def evaluate_neighbors(
    network: nn.Module, data: LabeledDataModule, command: EvaluateCommand, pipeline: Run, validate: bool
) -> tuple[dict[str, float], int]:
    """Return ``test/knn_accuracy``, ``val/knn_accuracy`` where validation may be looked at, and how many vote."""
    probe = NearestNeighborProbe(
        network, data.num_classes, num_neighbors=command.knn_neighbors, temperature=command.knn_temperature
    )
    trainer = create_trainer(command.trainer, [StopOnSignals()], False, pipeline.directory)
    if trainer.progress_bar_callback is not None:
        trainer.progress_bar_callback.disable()
    batches: Any = trainer.predict(probe, datamodule=LabeledBank(data))
    probe.remember(batches)
    values: dict[str, Any] = {}
    for evaluation in (trainer.validate, trainer.test) if validate else (trainer.test,):
        values |= evaluation(probe, datamodule=data, verbose=False)[0]
    return {name: float(value) for name, value in values.items()}, probe.num_voting


def with_neighbors(results: dict[str, Any]) -> dict[str, Any]:
    """Return results with a row of their own for the nearest neighbours, if there are any."""
    record = results["stages"]["evaluate"]
    metrics = {name.replace("knn_", ""): value for name, value in record["metrics"].items() if "/knn_" in name}
    if not metrics:
        return results
    row = f"{record['knn_neighbors']} nearest neighbours"
    return results | {"stages": results["stages"] | {row: record | {"metrics": metrics}}}
