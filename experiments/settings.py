"""What a user may set, as the command line and YAML files have it. No torch here: parsing answers at once."""

from dataclasses import dataclass, field
from typing import Literal

from lightning_modules.settings import require


@dataclass(frozen=True)
class AugmentationSettings:
    """The views of training images; null takes the policy's own value, 0 turns an operation off.

    Args:
        policy: ``none``, ``weak`` (flip and shift; with masks flip and scale) or ``strong`` (also RandAugment and
            erasing; with masks also colours).
        horizontal_flip: mirror half of the images.
        crop_padding: pad by so many pixels and crop back at a random place.
        resized_crop_scale: crop between this share of the area and all of it, and resize.
        rotation_degrees: rotate by up to so many degrees either way.
        translation: shift by up to this fraction of the size.
        scale: of images with masks: bounds of the factor by which they are scaled before they are cropped.
        crop_size: of images with masks: height and width of the crops; null keeps the images' size.
        brightness: multiply by up to 1 plus or minus this.
        contrast: likewise.
        saturation: likewise.
        num_ops: RandAugment's number of operations.
        magnitude: RandAugment's magnitude, 0 to 30.
        erasing_probability: share of the images that lose a rectangle.
        mixup_alpha: MixUp of pairs, shares from Beta(alpha, alpha).
        cutmix_alpha: CutMix of pairs; with MixUp too, each batch takes one of the two.
    """

    policy: Literal["none", "weak", "strong"] = "none"
    horizontal_flip: bool | None = None
    crop_padding: int | None = None
    resized_crop_scale: float | None = None
    rotation_degrees: float | None = None
    translation: float | None = None
    scale: tuple[float, float] | None = None
    crop_size: int | None = None
    brightness: float | None = None
    contrast: float | None = None
    saturation: float | None = None
    num_ops: int | None = None
    magnitude: int | None = None
    erasing_probability: float | None = None
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0

    def __post_init__(self) -> None:
        for option in ("mixup_alpha", "cutmix_alpha"):
            value = getattr(self, option)
            require(value >= 0, f"data.augmentation.{option}", value, "0 (off) or more")


@dataclass(frozen=True)
class DataSettings:
    """The images, which of them are labelled, and the batches made of them.

    Args:
        source: digits, fashion_mnist, mnist, cifar10, cifar100, svhn, stl10 or image_folder; with masks digit_scenes,
            fashion_scenes, oxford_pets, voc2012, cityscapes or mask_folder.
        root: folder of the source's files.
        download: fetch published files that are missing.
        manifest: of an image folder: a CSV or Parquet table ``path,label,split`` instead of folders.
        unlabeled: of an image folder: a folder of unlabelled images, of any depth.
        image_size: of an image folder: height and width to which images are cropped.
        crop_scale: of an image folder: bounds of a random crop's share of the area.
        max_pixels: of an image folder: files with more pixels are refused before they are decoded.
        on_bad_image: of an image folder: raise at an unreadable file, or skip it.
        max_bad_images: of an image folder: when more files are skipped, it is an error after all.
        cache: of an image folder: directory for decoded images, which later epochs read.
        class_file: of a mask folder: a YAML or JSON file of the classes.
        test_fraction: of a mask folder: share of the images for tests, where no folders say which.
        num_scenes: of scenes: number of training scenes.
        side: of scenes: height and width in pixels.
        classes: names of the classes to keep, or indices where no class has that name; they become 0, 1, ... in this
            order; null keeps all.
        augmentation: the views of training images.
        batch_size: samples of a training step, over all processes together.
        labels_per_class: keep the labels of so many samples of each class; null keeps all.
        num_labeled: of images with masks: keep the masks of so many; null keeps all.
        labeled_fraction: likewise, as a share of the training images outside validation.
        num_validation: samples set aside to choose the best epoch; null takes the source's own, else a tenth.
        split_seed: chooses validation samples and labelled subset; null takes the run's seed.
        unlabeled_batch_size: unlabelled samples of a step, over all processes together.
        steps_per_epoch: training batches of an epoch; null passes about once over the data.
        eval_batch_size: samples of an evaluation step, a process; null takes 256, of images with masks 64.
        num_workers: loader processes; 0 is fastest for sources in memory.
    """

    source: str = "digits"
    root: str | None = None
    download: bool = False
    manifest: str | None = None
    unlabeled: str | None = None
    image_size: int | None = None
    crop_scale: tuple[float, float] | None = None
    max_pixels: int | None = None
    on_bad_image: Literal["raise", "skip"] | None = None
    max_bad_images: int | None = None
    cache: str | None = None
    class_file: str | None = None
    test_fraction: float | None = None
    num_scenes: int | None = None
    side: int | None = None
    classes: list[str | int] | str | None = None
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    batch_size: int = 64
    labels_per_class: int | None = None
    num_labeled: int | None = None
    labeled_fraction: float | None = None
    num_validation: int | None = None
    split_seed: int | None = None
    unlabeled_batch_size: int = 64
    steps_per_epoch: int | None = None
    eval_batch_size: int | None = None
    num_workers: int = 0

    def __post_init__(self) -> None:
        for option in (
            "batch_size",
            "labels_per_class",
            "num_validation",
            "unlabeled_batch_size",
            "steps_per_epoch",
            "eval_batch_size",
        ):
            value = getattr(self, option)
            require(value is None or value >= 1, f"data.{option}", value, "1 or more")
        require(self.num_workers >= 0, "data.num_workers", self.num_workers, "0 or more")
        if isinstance(self.classes, str):
            object.__setattr__(self, "classes", split_classes(self.classes))


def split_classes(text: str) -> list[str]:
    """Return the classes of ``0,1,Bag`` as text: only the source knows whether a number is a name or an index."""
    return [name.strip() for name in text.split(",")]


@dataclass(frozen=True)
class TrainerSettings:
    """Lightning's Trainer; the options have its names and meanings.

    Args:
        max_epochs: epochs of each stage.
        accelerator: ``auto``, ``cpu``, ``gpu``, ...
        devices: number of processes on a node, or ``auto``.
        num_nodes: number of nodes.
        strategy: ``auto``, ``ddp``, ``fsdp``, ...
        precision: float32, or mixed with bfloat16 or float16.
        accumulate_grad_batches: batches to an optimizer step.
        gradient_clip_val: largest norm of the gradient; null does not clip.
        sync_batchnorm: batch norm over the batches of all processes.
        deterministic: only deterministic algorithms.
        log_every_n_steps: how often a step's loss is written.
        check_val_every_n_epoch: epochs between validations.
        enable_progress_bar: Rich progress bar.
        profiler: ``simple``, ``advanced`` or null.
    """

    max_epochs: int = 20
    accelerator: str = "auto"
    devices: int | str = "auto"
    num_nodes: int = 1
    strategy: str = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    accumulate_grad_batches: int = 1
    gradient_clip_val: float | None = None
    sync_batchnorm: bool = False
    deterministic: bool = False
    log_every_n_steps: int = 50
    check_val_every_n_epoch: int = 1
    enable_progress_bar: bool = True
    profiler: str | None = None

    def __post_init__(self) -> None:
        for option in (
            "max_epochs",
            "num_nodes",
            "accumulate_grad_batches",
            "log_every_n_steps",
            "check_val_every_n_epoch",
        ):
            require(getattr(self, option) >= 1, f"trainer.{option}", getattr(self, option), "1 or more")
        require(
            self.check_val_every_n_epoch <= self.max_epochs,
            "trainer.check_val_every_n_epoch",
            self.check_val_every_n_epoch,
            f"at most trainer.max_epochs ({self.max_epochs}): the best epoch is chosen on validation",
        )
        clip = self.gradient_clip_val
        require(clip is None or clip > 0, "trainer.gradient_clip_val", clip, "a norm above 0, or null")
