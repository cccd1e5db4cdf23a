"""What a user may set about pseudo-labels, as the command line and YAML files have it. No torch here."""

from dataclasses import dataclass
from typing import Literal

from lightning_modules.settings import PseudoLabelLossSettings, require


@dataclass(frozen=True)
class SelectionSettings(PseudoLabelLossSettings):
    """Which pseudo-labels of a table are taught, and how much they weigh.

    Args:
        temperature: of the loss; softens the teacher's and the student's distributions; hard labels have none.
        weight: of the pseudo-label term of the loss.
        ramp_up: share of the training over which the weight rises from 0.
        confidence_threshold: least confidence of what is taught, in 0..1; or a list, one a class; of masks a pixel's.
        balance: as many rows of every class, by repeating the scarce and dropping the least confident; of masks the
            same share of every class's pixels, the most confident (Zou et al. 2018).
        max_per_class: most rows of a class, the most confident; null sets no limit; masks have none.
        labels: ``soft`` takes the teacher's distribution, ``hard`` its most probable class; masks are hard.
        align: first weight the teacher's classes so that they are as frequent in the pool as among the labelled images
            (Berthelot et al. 2020), of which labels_per_class takes as many of every class; only where that is so in
            truth, else labels get worse; not for masks.
        ratio: pseudo-labelled images for each labelled one in a training step.
    """

    confidence_threshold: float | list[float] = 0.0
    balance: bool = False
    max_per_class: int | None = None
    labels: Literal["soft", "hard"] = "soft"
    align: bool = False
    ratio: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.labels == "soft" or self.temperature == 1,
            "pseudo_labels.temperature",
            self.temperature,
            "1 together with labels=hard: a class has no distribution to soften",
        )
        given = self.confidence_threshold
        thresholds = given if isinstance(given, list) else [given]
        require(
            len(thresholds) > 0 and all(0 <= threshold <= 1 for threshold in thresholds),
            "pseudo_labels.confidence_threshold",
            given,
            "a probability, 0 (keep all) to 1, or a list of them, one a class",
        )
        most = self.max_per_class
        require(most is None or most >= 1, "pseudo_labels.max_per_class", most, "1 or more, or null for no limit")
        expected = "a number above 0, such as 3 for three pseudo-labelled images to a labelled one"
        require(0 < self.ratio < float("inf"), "pseudo_labels.ratio", self.ratio, expected)


@dataclass(frozen=True)
class PseudoLabelSettings(SelectionSettings):
    """How a teacher labels the pool, which of its labels are taught, and how much they weigh.

    Args:
        flip: average the teacher's probabilities over each image and its mirror image.
        precision: of the teacher's arithmetic; ``auto`` takes bfloat16 where the device is fast at it.
    """

    flip: bool = False
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
