"""Images with masks in folders: ``images/`` and ``masks/``, files of the same name, in splits or not."""

from pathlib import Path

import torch

from datamodules.augmentation.keys import sample_keys
from datamodules.sources.image_folder import STATISTICS_SAMPLES
from datamodules.sources.listing import image_files, visible_folders
from datamodules.sources.mask_coding import read_class_file, require_lossless
from datamodules.sources.paired_files import MAX_PIXELS, Frame, paired_samples
from datamodules.sources.paths import PathList, check_unique, path_ids
from datamodules.sources.source import Source
from datamodules.sources.statistics import channel_statistics

SPLIT_FOLDERS = {"train": "train", "validation": "val", "test": "test"}
POOL = "unlabeled"
CLASS_FILES = ("classes.yaml", "classes.json")
EXAMPLES = 3

Pairs = dict[str, str]
"""The mask of each image."""


def mask_folder(
    root: Path | None = None,
    class_file: Path | None = None,
    test_fraction: float | None = None,
    image_size: int = 256,
    max_pixels: int = MAX_PIXELS,
) -> Source:
    """Return the images ``root/images/**`` with the masks ``root/masks/**.png``, of the same names but for the ending.

    Splits are the folders ``train``, ``test`` and perhaps ``val`` in both; without them, ``test_fraction`` of all are
    for tests, chosen by their names. Images in ``images/unlabeled`` are the pool.

    Args:
        root: the folder.
        class_file: the classes; ``root/classes.yaml`` or ``.json`` if ``None``. See ``read_class_file``.
        test_fraction: share of the images, where there are no folders of splits.
        image_size: height and width of the square that images are fitted into.
        max_pixels: files with more are refused before they are decoded.

    Raises:
        ValueError: folders or files are missing, an image has no mask or a mask no image, or a mask is no PNG.
    """
    frame = Frame(image_size, image_size, max_pixels)
    top = find_root(root)
    class_names, coding = read_class_file(class_file or find_class_file(top))
    pairs = list_splits(top, test_fraction)
    splits = {name: paired_samples(top, list(p), list(p.values()), coding, frame) for name, p in pairs.items()}
    pool = list(image_files(top, f"images/{POOL}")) if (top / "images" / POOL).is_dir() else []
    if pool:
        splits["unlabeled"] = paired_samples(top, pool, [], coding, frame)
    check_unique([(samples.ids, samples.paths) for samples in splits.values() if samples.paths is not None])
    mean, std = channel_statistics(splits["train"], STATISTICS_SAMPLES)
    return Source(
        name="mask_folder",
        class_names=class_names,
        citation=f"Unpublished images in the folder {top.resolve().name}.",
        mean=mean,
        std=std,
        **splits,
    )


def find_root(root: Path | None) -> Path:
    """Return the folder, which must hold images and masks."""
    if root is None or not (root / "images").is_dir() or not (root / "masks").is_dir():
        raise ValueError(
            f"--data.root {root}: expected a folder with images/ and masks/, with files of the same names; the masks "
            "are PNG"
        )
    return root


def find_class_file(root: Path) -> Path:
    """Return the file of classes in ``root``."""
    for name in CLASS_FILES:
        if (root / name).is_file():
            return root / name
    raise ValueError(
        f"--data.class_file: none given, and none of {', '.join(CLASS_FILES)} in {root}; expected a YAML or JSON file "
        "with a list of class names, or {class name: [red, green, blue]}"
    )


def list_splits(root: Path, test_fraction: float | None) -> dict[str, Pairs]:
    """Return the pairs of each split."""
    present = visible_folders(root / "images")
    if not set(SPLIT_FOLDERS.values()) & set(present):
        return split_at_random(root, list_pairs(root, ""), test_fraction)
    if test_fraction is not None:
        raise ValueError(
            f"--data.test_fraction {test_fraction}: {root}/images has folders of splits already; leave it out"
        )
    for needed in ("train", "test"):
        if needed not in present:
            raise ValueError(
                f"--data.root {root}: images/ has no folder {needed}/, expected train/, test/ and perhaps val/; move "
                "the images on which results are to be reported to test/"
            )
    return {split: list_pairs(root, f"/{folder}") for split, folder in SPLIT_FOLDERS.items() if folder in present}


def split_at_random(root: Path, pairs: Pairs, test_fraction: float | None) -> dict[str, Pairs]:
    """Return training and test pairs; which is which follows from the images' names alone."""
    num_test = round(len(pairs) * (test_fraction or 0))
    if test_fraction is None or not 0 < num_test < len(pairs):
        raise ValueError(
            f"--data.test_fraction: got {test_fraction}, expected the share, between 0 and 1, of the {len(pairs)} "
            f"images in {root}/images that are for tests, at least one of them and not all; or folders train/ and test/"
        )
    ids = path_ids(PathList.of(pairs))
    order = sample_keys(0, torch.zeros_like(ids), ids).argsort()
    chosen = set(order[:num_test].tolist())
    splits: dict[str, Pairs] = {"train": {}, "test": {}}
    for position, (image, mask) in enumerate(pairs.items()):
        splits["test" if position in chosen else "train"][image] = mask
    return splits


def list_pairs(root: Path, folder: str) -> Pairs:
    """Return the images in ``root/images<folder>`` with their masks in ``root/masks<folder>``, at any depth."""
    if not (root / f"masks{folder}").is_dir():
        raise ValueError(f"--data.root {root}: has images{folder}/ but no masks{folder}/, expected both")
    images, masks = by_name(root, f"images{folder}"), by_name(root, f"masks{folder}")
    for mask in masks.values():
        require_lossless(root / mask, {"jpg": "JPEG", "jpeg": "JPEG"}.get(ending := suffix(mask), ending.upper()))
    without_mask = [path for name, path in images.items() if name not in masks]
    without_image = [path for name, path in masks.items() if name not in images]
    for found, lacks, place in ((without_mask, "mask", "masks"), (without_image, "image", "images")):
        if found:
            raise ValueError(
                f"--data.root {root}: {len(found)} files without {lacks}, such as {', '.join(found[:EXAMPLES])}; "
                f"expected a file of the same name in {place}{folder}/: add it, or remove the other"
                + (f" (images without masks may lie in images/{POOL}/)" if lacks == "mask" else "")
            )
    if not images:
        raise ValueError(f"--data.root {root}: images{folder}/ has no images (.jpg, .png, .webp)")
    return {path: masks[name] for name, path in images.items()}


def by_name(root: Path, folder: str) -> dict[str, str]:
    """Return the paths of the images in a folder by their names within it, without ending."""
    paths: dict[str, str] = {}
    for path in image_files(root, folder):
        name = path[len(folder) + 1 :].rsplit(".", 1)[0]
        if name.split("/")[0] == POOL:
            continue
        if name in paths:
            raise ValueError(
                f"--data.root {root}: {paths[name]} and {path} have the same name but for the ending; rename one"
            )
        paths[name] = path
    return paths


def suffix(path: str) -> str:
    """Return a path's ending in small letters."""
    return path.rsplit(".", 1)[1].lower()
