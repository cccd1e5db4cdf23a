"""Evaluation of a checkpoint."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

from experiments.building import build_labeled, build_source, require_fits
from experiments.commands import EvaluateCommand
from experiments.run import Run
from experiments.tables import print_table
from experiments.training import Fitting
from lightning_modules.checkpoints import load_network
from lightning_modules.classification import ClassificationModule


def run(command: EvaluateCommand) -> dict[str, Any]:
    """Evaluate on validation and test, print the table, return what ``results.json`` holds."""
    network = load_network(command.checkpoint)
    source = build_source(command.data)
    require_fits(network, source, f"checkpoint {command.checkpoint}")
    if command.name is None:  # each checkpoint that is evaluated has a directory of its own
        digest = hashlib.sha256(str(Path(command.checkpoint).resolve()).encode()).hexdigest()
        command = dataclasses.replace(command, name=f"evaluate-{digest[:8]}")
    pipeline = Run("evaluate", command)
    module = ClassificationModule(network, source.num_classes)
    record = Fitting(pipeline).evaluate(module, build_labeled(source, command), command.trainer, command.checkpoint)
    pipeline.records["evaluate"] = record | {"evaluated": command.checkpoint}
    results = pipeline.finish(source.num_skipped)
    if pipeline.is_main:
        print_table(results)
    return results
