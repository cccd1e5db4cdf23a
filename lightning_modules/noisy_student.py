"""Noisy-Student self-training: learning from labels and from a teacher's pseudo-labels."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

from lightning_modules.losses import cross_entropy, soft_label_loss, with_auxiliary
from lightning_modules.metrics import ClassificationMetrics
from lightning_modules.schedules import Schedule
from lightning_modules.settings import OptimizerSettings, PseudoLabelLossSettings, TransferSettings
from lightning_modules.student import StudentModule, SupervisedLoss

STREAMS = ("labeled", "pseudo_labeled")


class NoisyStudentModule(StudentModule):
    """Learns from labelled images and from pseudo-labelled ones, both in one forward pass.

        L = CE(student, y) + weight * T^2 * KL(pseudo-label || student)      (Xie et al. 2020, section 2)

    Batch norm sees both streams together, as in that paper. The noise is in the views and in the network; the
    pseudo-labels were made before, without. Batches are ``{"labeled": ..., "pseudo_labeled": ...}``, or labelled alone,
    which is finetuning. ``train/accuracy`` is of the labelled images.

    Args:
        network: takes images ``(N, C, H, W)`` in ``[0, 1]``, returns logits ``(N, K)`` or ``(N, K, H, W)``.
        num_classes: classes ``K``.
        pseudo_labels: temperature, weight and ramp-up of the pseudo-label term.
        optimizer: optimizer and schedule.
        metrics: what validation and test compute; default ``ClassificationMetrics``.
        supervised_loss: of the logits and targets of labelled images, where another than cross-entropy is wanted.
        transfer: which layers learn, and how fast; default all alike.
    """

    def __init__(
        self,
        network: nn.Module,
        num_classes: int,
        *,
        pseudo_labels: PseudoLabelLossSettings | None = None,
        optimizer: OptimizerSettings | None = None,
        metrics: MetricCollection | None = None,
        supervised_loss: SupervisedLoss = cross_entropy,
        transfer: TransferSettings | None = None,
    ) -> None:
        metrics = metrics or ClassificationMetrics(num_classes)
        super().__init__(
            network, metrics=metrics, supervised_loss=supervised_loss, optimizer=optimizer, transfer=transfer
        )
        self.pseudo_labels = pseudo_labels or PseudoLabelLossSettings()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss of a batch of both streams, or of a labelled batch."""
        images, targets, pseudo_labels = split_streams(batch)
        logits, auxiliary = self.forward_with_auxiliary(images)
        loss_of = partial(self.loss, targets=targets, pseudo_labels=pseudo_labels)
        loss = with_auxiliary(loss_of, logits, auxiliary)
        self.track(loss, logits[: len(targets)], targets)
        return loss

    def loss(self, logits: Tensor, targets: Tensor, pseudo_labels: Tensor | None) -> Tensor:
        """Return the loss of the logits of labelled images, and after them of pseudo-labelled ones.

        Args:
            logits: ``(L + P, K)`` or ``(L + P, K, H, W)``.
            targets: of the first ``L``, hard or soft; see ``cross_entropy``.
            pseudo_labels: of the last ``P``; see ``pseudo_label_loss``.
        """
        num_labeled = len(targets)
        supervised = self.supervised_loss(logits[:num_labeled], targets)
        if pseudo_labels is None:
            return supervised
        taught = pseudo_label_loss(logits[num_labeled:], pseudo_labels, self.pseudo_labels.temperature)
        return supervised + self.pseudo_label_weight * taught

    @property
    def pseudo_label_weight(self) -> float:
        """Weight of the pseudo-label term at this point of the training."""
        settings = self.pseudo_labels
        if settings.ramp_up == 0:
            return settings.weight
        return Schedule(0, settings.weight, "linear")(self.progress / settings.ramp_up)


def split_streams(batch: Any) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return all images of a training batch, labelled ones first, the labelled targets, and the pseudo-labels if any.

    Raises:
        ValueError: the streams are not those of pseudo-labelled data.
    """
    if not isinstance(batch, dict):
        images, targets, *_ = batch
        return images, targets, None
    if set(batch) != set(STREAMS):
        raise ValueError(
            f"data: its training batches hold {', '.join(batch)}, expected {' and '.join(STREAMS)}; train a noisy "
            "student with PseudoLabeledDataModule, or with labelled data alone"
        )
    labeled, pseudo_labeled = (batch[name] for name in STREAMS)
    return torch.cat((labeled[0], pseudo_labeled[0])), labeled[1], pseudo_labeled[1]


def pseudo_label_loss(logits: Tensor, pseudo_labels: Tensor, temperature: float) -> Tensor:
    """Return ``T^2 * KL(pseudo-label || student)`` of soft, cross-entropy of hard pseudo-labels, in float32.

    Summed over classes, mean over samples or pixels. At T=1 the gradient of the first is that of the cross-entropy
    with soft targets; the values differ by the entropy of the targets.

    Args:
        logits: ``(N, K)`` or ``(N, K, H, W)``.
        pseudo_labels: probabilities of the same shape, or int64 classes ``(N,)`` or ``(N, H, W)``.
        temperature: T above 0; hard pseudo-labels have none.
    """
    if not pseudo_labels.is_floating_point():
        return cross_entropy(logits, pseudo_labels)
    smallest = torch.finfo(torch.float32).tiny  # log 0 would be -inf, and 0 * -inf NaN
    # Log-probabilities are logits: softmax(log p) = p.
    return soft_label_loss(logits, pseudo_labels.float().clamp(min=smallest).log(), temperature)
