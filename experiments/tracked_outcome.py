"""What W&B is told of a stage when it is done: best and last, pictures and tables of its test, its checkpoints."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from experiments.collecting import PredictionCollector
from experiments.prediction_tables import EXAMPLES, OVERLAYS, Predictions, read_examples

MOST_CLASSES = 100
"""Of a confusion matrix: W&B draws a row of a table for each of its cells."""


def outcome_of(directory: Path, collector: PredictionCollector) -> dict[str, Any]:
    """Return what W&B shows of a stage's test, by key.

    Args:
        directory: of the stage.
        collector: which saw the test, and has written its files.
    """
    import wandb

    class_names = collector.class_names
    logged: dict[str, Any] = {}
    confusion = None if collector.confusion is None else collector.confusion.numpy()
    if collector.predictions is not None:
        logged["test/examples"] = example_table(directory / EXAMPLES, class_names)
        logged["test/reliability"] = reliability_plot(collector.predictions)
        confusion = collector.predictions.confusion()
    if confusion is not None and len(class_names) <= MOST_CLASSES:
        logged["test/confusion_matrix"] = confusion_plot(confusion, class_names)
    if (directory / OVERLAYS).exists():
        logged["test/overlays"] = wandb.Image(str(directory / OVERLAYS))
    return logged


def example_table(path: Path, class_names: Sequence[str]) -> Any:
    """Return a ``wandb.Table`` of the most confident mistakes and of what the network is least sure of."""
    import wandb

    rows = [
        [
            wandb.Image(Image.open(io.BytesIO(each.image))),
            each.kind,
            each.id,
            class_names[each.target] if each.target >= 0 else "unknown",
            class_names[each.label],
            each.confidence,
        ]
        for each in read_examples(path)
    ]
    return wandb.Table(columns=["image", "kind", "id", "true", "predicted", "confidence"], data=rows)


def confusion_plot(confusion: NDArray[np.int64], class_names: Sequence[str]) -> Any:
    """Return W&B's own chart of a confusion matrix ``(K, K)``, whose rows are true classes."""
    import wandb

    cells = [
        [true, predicted, int(confusion[row, column])]
        for row, true in enumerate(class_names)
        for column, predicted in enumerate(class_names)
    ]
    fields = ["Actual", "Predicted", "nPredictions"]
    table = wandb.Table(columns=fields, data=cells)
    titles = {"title": "Confusion matrix of the test images"}
    return wandb.plot_table("wandb/confusion_matrix/v1", table, {name: name for name in fields}, titles)


def reliability_plot(predictions: Predictions) -> Any:
    """Return a W&B chart of accuracy against confidence, bin by bin."""
    import wandb

    rows = [list(each) for each in predictions.reliability()]
    table = wandb.Table(columns=["confidence", "accuracy", "images"], data=rows)
    return wandb.plot.line(table, "confidence", "accuracy", title="Reliability on the test images")


def log_checkpoints(run: Any, name: str, stage: str, best: Path, last: Path, metadata: Mapping[str, Any]) -> None:
    """Log the checkpoints of a stage as versions of one artifact, with the aliases ``best`` and ``last``.

    Args:
        run: the W&B run of the stage.
        name: of the artifact.
        stage: its name; of a round, such as ``round_2``, the best also has the alias ``round-2``.
        best: checkpoint of the best epoch on validation.
        last: checkpoint of the last epoch.
        metadata: what the best reached; the last was not tested.
    """
    import wandb

    of_round = [stage.replace("_", "-")] if stage.startswith("round_") else []
    for path, aliases, known in ((last, ["last"], {}), (best, ["best", *of_round], dict(metadata))):
        artifact = wandb.Artifact(name, type="model", metadata=known)
        artifact.add_file(str(path), name="model.ckpt")
        run.log_artifact(artifact, aliases=aliases)
