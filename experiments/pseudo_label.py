"""Labelling a pool with a checkpoint: a table that any later training can take."""

from pathlib import Path
from typing import Any

from experiments.building import build_labeled, build_source
from experiments.building_networks import require_fits
from experiments.class_names import require_same_classes
from experiments.commands import PseudoLabelCommand
from experiments.labelling import audit_table, label_pool
from experiments.pseudo_label_settings import PseudoLabelSettings
from experiments.run import is_main_process
from experiments.tables import percent
from lightning_modules.checkpoints import load_network


def run(command: PseudoLabelCommand) -> dict[str, Any]:
    """Write the table, print what is in it and, where the truth is known, how right it is; return the audit."""
    network = load_network(command.checkpoint)
    source = build_source(command.data)
    require_fits(network, source, f"checkpoint {command.checkpoint}")
    require_same_classes(command.checkpoint, source, "checkpoint")
    labeled = build_labeled(source, command)
    # The audit of classes is that of hard labels too; masks have no others.
    settings = PseudoLabelSettings(flip=command.flip, precision=command.precision, labels="hard")
    path = Path(command.output).expanduser()
    may_skip = command.data.on_bad_image == "skip"
    table = label_pool(network, labeled, path, settings, command.trainer, may_skip=may_skip)
    numbers = audit_table(table, labeled, settings)
    if is_main_process():
        print(f"{path}: {table.describe()}")
        if numbers["accuracy"] is not None:
            print(f"accuracy against the pool's hidden truth: {percent(numbers['accuracy'])} %")
        if numbers.get("mean_iou") is not None:
            print(f"mean IoU against the pool's hidden truth: {percent(numbers['mean_iou'])} %")
    return numbers
