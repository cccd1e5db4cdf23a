"""Published images with masks, found by torchvision's readers: Oxford-IIIT Pet, Pascal VOC 2012, Cityscapes."""

import os
from collections.abc import Iterable
from pathlib import Path

from datamodules.sources.image_folder import STATISTICS_SAMPLES
from datamodules.sources.in_memory import DEFAULT_ROOT, read_published
from datamodules.sources.mask_coding import ValueCoding
from datamodules.sources.paired_files import Frame, paired_samples
from datamodules.sources.source import Samples, Source
from datamodules.sources.statistics import channel_statistics

PETS_CITATION = "Parkhi, O. M., Vedaldi, A., Zisserman, A. and Jawahar, C. V. (2012). Cats and Dogs. CVPR."
VOC_CITATION = (
    "Everingham, M., Van Gool, L., Williams, C. K. I., Winn, J. and Zisserman, A. (2010). The Pascal Visual Object "
    "Classes (VOC) Challenge. International Journal of Computer Vision 88(2)."
)
CITYSCAPES_CITATION = (
    "Cordts, M., Omran, M., Ramos, S. and others (2016). The Cityscapes Dataset for Semantic Urban Scene "
    "Understanding. CVPR."
)
VOC_CLASSES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)


def oxford_pets(root: Path | None = None, download: bool = False, image_size: int = 256) -> Source:
    """Return Oxford-IIIT Pet from ``root/oxford-iiit-pet``: 3,680 + 3,669 images with trimaps of three classes.

    Args:
        root: folder of the published folder.
        download: fetch it if it is missing.
        image_size: height and width of the square that images are fitted into.

    Raises:
        ValueError: the files are missing.
    """
    from torchvision.datasets import OxfordIIITPet

    top, frame = root or DEFAULT_ROOT, Frame(image_size, image_size)
    coding = ValueCoding({1: 0, 2: 1, 3: 2})

    def read(split: str) -> Samples:
        def dataset() -> OxfordIIITPet:
            return OxfordIIITPet(str(top), split, "segmentation", download=download)

        found = read_published("oxford_pets", top / "oxford-iiit-pet", dataset)
        return samples_of(top, zip(found._images, found._segs, strict=True), coding, frame)

    return source_of("oxford_pets", ("pet", "background", "border"), PETS_CITATION, read("trainval"), read("test"))


def voc2012(root: Path | None = None, download: bool = False, image_size: int = 512) -> Source:
    """Return Pascal VOC 2012 from ``root/VOCdevkit/VOC2012``: the 1,464 training images, and as test the 1,449 of
    ``val``, since the masks of its own test split are not published.

    Args:
        root: folder of the published folder.
        download: fetch it if it is missing.
        image_size: height and width of the square that images are fitted into.

    Raises:
        ValueError: the files are missing.
    """
    from torchvision.datasets import VOCSegmentation

    top, frame = root or DEFAULT_ROOT, Frame(image_size, image_size)
    folder = top / "VOCdevkit" / "VOC2012"
    coding = ValueCoding({label: label for label in range(len(VOC_CLASSES))})

    def read(split: str, download: bool = False) -> Samples:
        def dataset() -> VOCSegmentation:
            return VOCSegmentation(str(top), image_set=split, download=download)

        found = read_published("voc2012", folder, dataset)
        return samples_of(top, zip(found.images, found.masks, strict=True), coding, frame)

    train = read("train", download=download and not folder.is_dir())
    return source_of("voc2012", VOC_CLASSES, VOC_CITATION, train, read("val"))


def cityscapes(root: Path | None = None, image_size: int = 1024) -> Source:
    """Return Cityscapes from ``root/leftImg8bit`` and ``root/gtFine``, with its 19 training classes: 2,975 images, and
    as test the 500 of ``val``, since the masks of its own test split are not published.

    Args:
        root: folder of the two published folders.
        image_size: width in pixels; the height is half of it, as that of the published images.

    Raises:
        ValueError: the files are missing.
    """
    from torchvision.datasets import Cityscapes

    top, frame = root or DEFAULT_ROOT / "cityscapes", Frame(image_size // 2, image_size)
    kinds = [kind for kind in Cityscapes.classes if kind.id >= 0]
    names = {kind.train_id: kind.name for kind in kinds if not kind.ignore_in_eval}
    coding = ValueCoding({kind.id: kind.train_id for kind in kinds})

    def read(split: str) -> Samples:
        try:
            found = Cityscapes(str(top), split, "fine", "semantic")
        except (RuntimeError, OSError) as error:
            raise ValueError(
                f"--data.source cityscapes: its published files are not (or not whole) in {top} ({error}); expected "
                "leftImg8bit/ and gtFine/, which its web site hands out after registration: name their folder with "
                "--data.root"
            ) from error
        pairs = sorted((image, mask) for image, (mask,) in zip(found.images, found.targets, strict=True))
        return samples_of(top, pairs, coding, frame)

    class_names = tuple(names[label] for label in sorted(names))
    return source_of("cityscapes", class_names, CITYSCAPES_CITATION, read("train"), read("val"))


def samples_of(root: Path, pairs: Iterable[tuple[Path, Path]], coding: ValueCoding, frame: Frame) -> Samples:
    """Return the images with their masks; ids follow from the paths relative to ``root``."""
    images, masks = zip(*pairs, strict=True)
    relative = [[os.path.relpath(path, root).replace(os.sep, "/") for path in paths] for paths in (images, masks)]
    return paired_samples(root, relative[0], relative[1], coding, frame)


def source_of(name: str, class_names: tuple[str, ...], citation: str, train: Samples, test: Samples) -> Source:
    """Return the source."""
    mean, std = channel_statistics(train, STATISTICS_SAMPLES)
    return Source(name, class_names, citation, train, test, mean, std)
