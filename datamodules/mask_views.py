"""Views of images with masks: what a learner sees of both, a pure function of seed, epoch and sample id."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from datamodules.augmentation.joint import move_masks
from datamodules.augmentation.keys import fold_in, mix_integer, sample_keys
from datamodules.augmentation.scaling import RandomScale
from datamodules.views import Policy, View, create_policy


@dataclass(frozen=True)
class MaskView(View):
    """A view whose policy is one of ``create_mask_policy``; the masks are moved along with the images."""

    def masks(self, masks: Tensor, ids: Tensor, epochs: Tensor) -> Tensor:
        """Return ``(N, H', W')`` uint8, on the masks' device.

        Args:
            masks: ``(N, H, W)`` uint8 classes, 255 where they are to be ignored.
            ids: ``(N,)`` int64, those of the images.
            epochs: ``(N,)`` int64, likewise.
        """
        keys = sample_keys(mix_integer(self.seed), epochs.to(masks.device), ids.to(masks.device))
        for position, operation in enumerate(self.policy.operations):
            masks = move_masks(operation, masks, fold_in(keys, -position) if position else keys)
        return masks


MASK_POLICIES: dict[str, dict[str, Any]] = {
    "none": {},
    "weak": {"horizontal_flip": True, "scale": (0.5, 2.0)},
    "strong": {
        "horizontal_flip": True,
        "scale": (0.5, 2.0),
        "brightness": 0.4,
        "contrast": 0.4,
        "saturation": 0.4,
    },
}
"""The policies for images with masks by name: flip, scale and crop; the same and colours."""

SCALES = (0.1, 10.0)
"""Smallest and largest factor of scale."""


def create_mask_policy(
    name: str,
    *,
    horizontal_flip: bool | None = None,
    scale: tuple[float, float] | None = None,
    crop_size: int | None = None,
    crop_padding: int | None = None,
    rotation_degrees: float | None = None,
    brightness: float | None = None,
    contrast: float | None = None,
    saturation: float | None = None,
) -> Policy:
    """Return the policy ``none``, ``weak`` or ``strong`` for images with masks, with the options given instead.

    Colours come first, so that what is padded stays black.

    Args:
        name: one of ``MASK_POLICIES``.
        horizontal_flip: mirror half of the images.
        scale: range of the factor by which images are scaled before they are cropped.
        crop_size: height and width of the crops; ``None`` keeps the images' size.
        crop_padding: pad by so many pixels and crop back at a random place.
        rotation_degrees: rotate by up to so many degrees either way.
        brightness: multiply by up to ``1 ± brightness``.
        contrast: likewise.
        saturation: likewise.

    Raises:
        ValueError: there is no such policy, or an option is out of range.
    """
    given = {option: value for option, value in locals().items() if option != "name" and value is not None}
    if name not in MASK_POLICIES:
        raise ValueError(f"policy: got {name!r}, expected one of {', '.join(MASK_POLICIES)}")
    options = MASK_POLICIES[name] | given
    scales, size = options.pop("scale", (1.0, 1.0)), options.pop("crop_size", None)
    require_scale(scales, size)
    colors = {option: options.pop(option) for option in ("brightness", "contrast", "saturation") if option in options}
    scaling = (
        () if tuple(scales) == (1.0, 1.0) and size is None else (RandomScale(tuple(scales), size and (size, size)),)
    )
    return Policy(
        name, create_policy("none", **colors).operations + scaling + create_policy("none", **options).operations
    )


def require_scale(scale: tuple[float, float], crop_size: int | None) -> None:
    """Raise a ``ValueError`` unless images can be scaled and cropped like that."""
    if len(scale) != 2 or not SCALES[0] <= scale[0] <= scale[1] <= SCALES[1]:
        raise ValueError(
            f"scale: got {scale}, expected two ascending factors from {SCALES[0]} to {SCALES[1]}, such as 0.5 and 2; "
            "1 and 1 scale nothing"
        )
    if crop_size is not None and crop_size < 1:
        raise ValueError(f"crop_size: got {crop_size}, expected 1 or more pixels")
