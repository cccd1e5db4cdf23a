"""What a user may set about prediction, as the command line and YAML files have it. No torch here."""

from dataclasses import dataclass
from typing import Literal

from lightning_modules.settings import require


@dataclass(frozen=True, kw_only=True)
class PredictCommand:
    """Predict image files: masks with overlays, or a table of classes, as the checkpoint's network has it.

    A file that cannot be read is named and left out; the exit status is then 1.

    Args:
        checkpoint: one of our checkpoints.
        input: an image, or a folder of images at any depth.
        output: directory of masks/ and overlays/, or of predictions.csv; earlier predictions in it are overwritten.
        flip: average the probabilities over each image and its mirror image.
        image_size: of classes: height and width to which images are cropped, as those of an image folder; null takes
            the network's input_size.
        window: of masks: height and width of the windows of every larger image; null takes images of up to 1024x1024
            pixels in one piece, others in windows of 512.
        overlap: of masks: pixels that neighbouring windows share; null takes a quarter of the window.
        overlays: of masks: also draw each image with its mask and a legend.
        batch_size: images, or windows of one, that the network is given together; null: 64 images, 1 window.
        max_pixels: files with more pixels are refused before they are decoded.
        accelerator: ``auto`` takes a GPU where there is one.
        precision: of the arithmetic; ``auto`` takes bfloat16 where the device is fast at it.
    """

    checkpoint: str
    input: str
    output: str = "predictions"
    flip: bool = False
    image_size: int | None = None
    window: int | None = None
    overlap: int | None = None
    overlays: bool = True
    batch_size: int | None = None
    max_pixels: int = 100_000_000
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    def __post_init__(self) -> None:
        for option in ("image_size", "window", "batch_size", "max_pixels"):
            value = getattr(self, option)
            require(value is None or value >= 1, option, value, "1 or more")
