"""What a user may set about an export, as the command line and YAML files have it. No torch here."""

from dataclasses import dataclass

from experiments.settings import DataSettings
from lightning_modules.settings import require

FORMATS = ("torch", "onnx", "safetensors")


@dataclass(frozen=True, kw_only=True)
class ExportCommand:
    """Export a checkpoint's network, checked on images, with a model card: torch.export, ONNX, safetensors.

    Exported networks take images (N, C, H, W) in 0..1, normalise them themselves and return logits. A file that says
    anything else than the checkpoint's network is not kept, and the exit status is 1.

    Args:
        checkpoint: one of our checkpoints; the directory of its run says its images, settings and figures.
        format: torch, onnx or safetensors; several as ``NAME,...`` or a list.
        output: directory of README.md and of model.pt2, model.onnx, or model.safetensors with config.json; earlier
            exports in it are overwritten.
        teacher: checkpoint of a network to compare size and latency with; null takes the run's stage ``teacher``, if
            it has one.
        data: images to check with; null takes those of the run, random ones where there is none.
        image_size: of random images: height and width; null takes the network's input_size.
        batch_size: images of the check, and of the second latency beside that of one image.
        license: the hub's name of the licence that the exported weights are given out under.
    """

    checkpoint: str
    format: list[str] | str = "torch"
    output: str = "exported"
    teacher: str | None = None
    data: DataSettings | None = None
    image_size: int | None = None
    batch_size: int = 64
    license: str = "unknown"

    def __post_init__(self) -> None:
        if isinstance(self.format, str):
            object.__setattr__(self, "format", [name.strip() for name in self.format.split(",")])
        known = bool(self.format) and set(self.format) <= set(FORMATS) and len(set(self.format)) == len(self.format)
        require(known, "format", self.format, f"some of {', '.join(FORMATS)}, each once")
        require(self.image_size is None or self.image_size >= 1, "image_size", self.image_size, "1 or more pixels")
        require(self.batch_size >= 2, "batch_size", self.batch_size, "2 or more images: one alone is checked too")
        require(self.license.strip() != "", "license", self.license, "a name such as apache-2.0, or unknown")
