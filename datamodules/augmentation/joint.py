"""Images with masks: what an operation on images does to their masks, and CutMix of both.

Operations follow from a sample's key alone, so a mask is moved by calling the same operation with the same key. It
takes the nearest pixel, so that no class is made up between two others, and 255, which is ignored, where nothing is
known.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from datamodules.augmentation.color import ColorJitter
from datamodules.augmentation.crop import FlipAndCrop
from datamodules.augmentation.geometry import RandomAffine
from datamodules.augmentation.mixing import cut_mix, mixing_boxes, of_pairs
from datamodules.augmentation.scaling import RandomScale

IGNORE_INDEX = 255
Operation = Callable[[Tensor, Tensor], Tensor]
"""Takes ``(N, C, H, W)`` uint8 and ``keys (N,)``, returns ``(N, C, H', W')`` uint8."""


def move_masks(operation: Operation, masks: Tensor, keys: Tensor) -> Tensor:
    """Return ``(N, H', W')`` uint8 of ``masks (N, H, W)`` uint8, moved as ``operation`` moves images of ``keys (N,)``.

    Raises:
        ValueError: it is not known what the operation does to masks.
    """
    if isinstance(operation, ColorJitter):
        return masks
    if isinstance(operation, RandomAffine | RandomScale):
        operation = replace(operation, interpolation="nearest")
    elif not isinstance(operation, FlipAndCrop):
        raise ValueError(
            f"policy: got the operation {operation}, which has no counterpart for masks; expected flips, crops, "
            "scaling, rotation and colour changes: make the policy with create_mask_policy"
        )
    # These operations fill with zeros: turned round, that is 255.
    return IGNORE_INDEX - operation(IGNORE_INDEX - masks.unsqueeze(1), keys).squeeze(1)


@dataclass(frozen=True)
class CutMixMasks:
    """Puts a rectangle of each partner into the other, image and mask (French et al. 2020, arXiv:1906.01916).

    Attributes:
        alpha: positive; the rectangle covers ``1 − λ`` of the image, ``λ ~ Beta(alpha, alpha)``.
    """

    alpha: float = 1.0

    def __call__(self, images: Tensor, targets: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``images (N, C, H, W)`` and masks ``targets (N, H, W)`` mixed; keys of even samples steer the pairs.

        Raises:
            ValueError: the targets are no masks.
        """
        if targets.ndim != 3:
            raise ValueError(f"cutmix: got targets {tuple(targets.shape)}, expected masks (N, H, W); use CutMix")
        height, width = images.shape[-2:]
        boxes = mixing_boxes(of_pairs(keys), height, width, self.alpha)
        return cut_mix(images, boxes), cut_mix(targets.unsqueeze(1), boxes).squeeze(1)
