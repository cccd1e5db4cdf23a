"""What networks learn from a source: a class an image, or a class a pixel."""

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from datamodules.sources.source import Source
from experiments.building import has_masks
from lightning_modules.classification import ClassificationModule, smoothed_cross_entropy
from lightning_modules.metrics import ClassificationMetrics
from lightning_modules.segmentation import MaskLoss, SegmentationModule
from lightning_modules.segmentation_metrics import SegmentationMetrics
from lightning_modules.settings import MaskLossSettings
from lightning_modules.student import StudentModule


@dataclass(frozen=True)
class Task:
    """A source's classes, and what is measured and minimised; the stages of a run share one.

    Attributes:
        source: the images.
        label_smoothing: of the supervised loss of classes.
        mask_loss: the supervised loss of masks.
        boundary: of masks: also measure the F1 of the boundaries.
    """

    source: Source
    label_smoothing: float = 0.0
    mask_loss: MaskLossSettings = field(default_factory=MaskLossSettings)
    boundary: bool = False

    def __post_init__(self) -> None:
        if not has_masks(self.source) and self.mask_loss != MaskLossSettings():
            raise ValueError(
                f"mask_loss: got {self.mask_loss}, expected nothing: the targets of {self.source.name} are classes"
            )

    @property
    def measure(self) -> str:
        """What networks are chosen and compared by: ``accuracy``, of masks ``mean_iou``."""
        return SegmentationMetrics.measure if has_masks(self.source) else ClassificationMetrics.measure

    @property
    def settings(self) -> dict[str, Any]:
        """What the result of training depends on beside the source."""
        if has_masks(self.source):
            return {"mask_loss": self.mask_loss, "boundary": self.boundary}
        return {"label_smoothing": self.label_smoothing}

    def supervised(self, network: nn.Module, **options: Any) -> StudentModule:
        """Return the module that learns from true targets; options are those that both kinds have."""
        num_classes = self.source.num_classes
        if has_masks(self.source):
            masks: dict[str, Any] = {"mask_loss": self.mask_loss, "boundary": self.boundary}
            return SegmentationModule(network, num_classes, **masks, **options)
        return ClassificationModule(network, num_classes, label_smoothing=self.label_smoothing, **options)

    def of_students(self) -> dict[str, Any]:
        """Return the metrics and the supervised loss of modules that also learn from a teacher."""
        num_classes = self.source.num_classes
        if has_masks(self.source):
            return {
                "metrics": SegmentationMetrics(num_classes, self.boundary),
                "supervised_loss": MaskLoss(num_classes, self.mask_loss),
            }
        loss = smoothed_cross_entropy(self.label_smoothing)
        return {"metrics": ClassificationMetrics(num_classes), "supervised_loss": loss}
