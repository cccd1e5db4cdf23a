"""Tiny sets of images with masks in the layouts in which the real ones are published."""

from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from .layouts import write_photograph

FOLDER_CLASSES = {"sky": [0, 0, 255], "tree": [0, 128, 0], "road": [90, 90, 90], "ignore": [255, 255, 255]}
SIZES = [(40, 30), (24, 36), (30, 30)]
"""Widths and heights of the images, in turn."""


def random_mask(seed: int, values: list[int], width: int, height: int) -> np.ndarray:
    """A mask of blocks, so that neighbours are of one class."""
    coarse = np.random.default_rng(seed).choice(values, (5, 5))
    return coarse[np.arange(height)[:, None] * 5 // height, np.arange(width) * 5 // width].astype(np.uint8)


def write_mask(path: Path, mask: np.ndarray) -> Path:
    """An indexed PNG with a palette, as VOC's masks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    indexed = Image.frombytes("P", mask.shape[::-1], mask.tobytes())
    indexed.putpalette([level for value in range(256) for level in (value, 255 - value, value // 2)])
    indexed.save(path)
    return path


def write_color_mask(path: Path, mask: np.ndarray, colors: list[list[int]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(colors, dtype=np.uint8)[mask]).save(path)
    return path


def write_pair(image: Path, mask: Path, seed: int, values: list[int]) -> None:
    width, height = SIZES[seed % len(SIZES)]
    write_photograph(image, seed, width, height)
    write_mask(mask, random_mask(seed, values, width, height))


def write_pets(root: Path) -> None:
    folder = root / "oxford-iiit-pet"
    for split, first in (("trainval", 0), ("test", 6)):
        names = [f"{'Abyssinian' if k % 2 else 'beagle'}_{k}" for k in range(first, first + 6)]
        for k, name in enumerate(names, start=first):
            write_pair(
                folder / "images" / f"{name}.jpg", folder / "annotations" / "trimaps" / f"{name}.png", k, [1, 2, 3]
            )
        (folder / "annotations" / f"{split}.txt").write_text("".join(f"{name} 1 1 1\n" for name in names))


def write_voc(root: Path) -> None:
    folder = root / "VOCdevkit" / "VOC2012"
    for split, first in (("train", 0), ("val", 6)):
        names = [f"2007_{k:06}" for k in range(first, first + 6)]
        for k, name in enumerate(names, start=first):
            write_pair(
                folder / "JPEGImages" / f"{name}.jpg", folder / "SegmentationClass" / f"{name}.png", k, [0, 15, 20, 255]
            )
        lists = folder / "ImageSets" / "Segmentation"
        lists.mkdir(parents=True, exist_ok=True)
        (lists / f"{split}.txt").write_text("\n".join(names) + "\n")


def write_cityscapes(root: Path) -> None:
    for split, first in (("train", 0), ("val", 6)):
        for k in range(first, first + 6):
            city = ("ulm", "bonn")[k % 2]
            name = f"{city}_{k:06}_000019"
            image = root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png"
            write_photograph(image, k, 40, 20)
            mask = random_mask(k, [0, 7, 26, 33], 40, 20)
            write_mask(root / "gtFine" / split / city / f"{name}_gtFine_labelIds.png", mask)


def write_mask_folder(root: Path) -> None:
    for split, first, count in (("train", 0, 6), ("val", 6, 2), ("test", 8, 3)):
        for k in range(first, first + count):
            width, height = SIZES[k % len(SIZES)]
            write_photograph(root / "images" / split / "deep" / f"{k}.jpg", k, width, height)
            mask = random_mask(k, [0, 1, 2, 3], width, height)
            write_color_mask(root / "masks" / split / "deep" / f"{k}.png", mask, list(FOLDER_CLASSES.values()))
    for k in range(2):
        write_photograph(root / "images" / "unlabeled" / f"{k}.png", 20 + k)
    (root / "classes.yaml").write_text(yaml.safe_dump(FOLDER_CLASSES, sort_keys=False))
