"""What a network says of samples: how right it is, how sure, and of which class."""

import time
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MulticlassCalibrationError

from datamodules.sources.source import Samples
from datamodules.splits import stratified_subset
from experiments.predictions import predict_samples
from experiments.tasks import Task
from lightning_modules.losses import cross_entropy, known_targets
from lightning_modules.segmentation_metrics import class_ious, most_probable_classes

PIXELS_OF_AN_IMAGE = 4096
"""Confidences are kept one by one: of masks, those of about so many pixels of an image."""
TRIAL_IMAGES = 16


@dataclass(frozen=True)
class Assessment:
    """What was found of a network on samples.

    Attributes:
        metrics: ``accuracy``, of masks also ``mean_iou``; ``loss``; ``calibration_error``, the expected one over 15
            bins (Guo et al. 2017); ``confidence``, the mean probability of the most probable class.
        confusion: ``(K, K)`` of samples, of masks of pixels: rows are true classes, columns predicted.
        predicted: the most probable classes, ``(N,)`` or ``(N, H, W)``, of the samples that can be read.
        seconds: how long it took.
    """

    metrics: dict[str, float]
    confusion: Tensor
    predicted: Tensor
    seconds: float

    @property
    def class_scores(self) -> Tensor:
        """``(K,)`` accuracy of each class, of masks IoU; NaN of a class without samples."""
        confusion = self.confusion.double()
        is_mask = self.predicted.ndim == 3
        return class_ious(confusion) if is_mask else confusion.diagonal() / confusion.sum(dim=1)

    def agreement(self, other: "Assessment") -> float:
        """Return the share of samples, of masks of pixels, that both networks call the same class."""
        return (self.predicted == other.predicted).double().mean().item()


def assess(network: nn.Module, samples: Samples, task: Task, device: torch.device, batch_size: int) -> Assessment:
    """Return what a network says of labelled samples.

    Args:
        network: takes images ``(n, C, H, W)`` in ``[0, 1]``, returns logits ``(n, K)`` or ``(n, K, H, W)``.
        samples: labelled samples, of which one at least can be read.
        task: their kind, and what is measured.
        device: where the network computes.
        batch_size: images that it is given together.
    """
    start = time.perf_counter()
    metrics = task.of_students()["metrics"]
    calibration, sureness = MulticlassCalibrationError(task.source.num_classes, validate_args=False), MeanMetric()
    loss, predicted = MeanMetric(), []
    for indices, on_device in predict_samples(network, samples, device, batch_size):
        logits, targets = on_device.float().cpu(), samples.read_targets(indices).long()
        metrics.update(logits, targets)
        loss.update(cross_entropy(logits, targets), weight=known_targets(targets).sum())
        probabilities, labels = known_probabilities(logits, targets)
        calibration.update(probabilities, labels)
        sureness.update(probabilities.amax(dim=1))
        predicted.append(most_probable_classes(logits) if logits.ndim == 4 else logits.argmax(dim=1))
    values = metrics.compute() | {
        "loss": loss.compute(),
        "calibration_error": calibration.compute(),
        "confidence": sureness.compute(),
    }
    confusion = cast(Metric, metrics["confusion_matrix"]).compute()
    scalars = {name: float(value) for name, value in values.items()}
    return Assessment(scalars, confusion, torch.cat(predicted), time.perf_counter() - start)


def known_probabilities(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return class probabilities ``(n, K)`` and targets ``(n,)`` where targets are known; of masks, of some pixels."""
    known = known_targets(targets)
    if logits.ndim == 4:
        every = max(1, targets[0].numel() // PIXELS_OF_AN_IMAGE)
        logits = logits.flatten(2)[:, :, ::every].movedim(1, -1).flatten(0, 1)
        targets, known = (values.flatten(1)[:, ::every].flatten() for values in (targets, known))
    return logits[known].softmax(dim=1), targets[known]


def affordable(
    network: nn.Module, samples: Samples, task: Task, device: torch.device, batch_size: int, seconds: float
) -> int:
    """Return how many of the samples a network can be given within so many seconds, 1 at least."""
    trial = some_of(samples, TRIAL_IMAGES, seed=0)
    assess(network, trial, task, device, batch_size)  # the first pass also sets things up
    an_image = assess(network, trial, task, device, batch_size).seconds / len(trial)
    return max(1, min(len(samples), int(seconds / an_image)))


def some_of(samples: Samples, number: int, seed: int) -> Samples:
    """Return up to ``number`` samples, classes in their shares."""
    if number >= len(samples):
        return samples
    return samples.select(stratified_subset(samples.targets, samples.ids, number, seed))
