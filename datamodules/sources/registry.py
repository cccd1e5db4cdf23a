"""Sources by name. A new one is a function in a file of its own and one line in ``SOURCES`` or ``MASK_SOURCES``."""

import difflib
import inspect
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datamodules.sources.folder_reader import OnBadImage
    from datamodules.sources.source import Source

SOURCES = {
    "digits": "digits:digits",
    "fashion_mnist": "mnist:fashion_mnist",
    "mnist": "mnist:mnist",
    "cifar10": "cifar:cifar10",
    "cifar100": "cifar:cifar100",
    "svhn": "svhn:svhn",
    "stl10": "stl10:stl10",
    "image_folder": "image_folder:image_folder",
}
"""Name of each source, with the file in this folder and the function there; imported only when asked for."""

MASK_SOURCES = {
    "digit_scenes": "scenes:digit_scenes",
    "fashion_scenes": "scenes:fashion_scenes",
    "oxford_pets": "published_masks:oxford_pets",
    "voc2012": "published_masks:voc2012",
    "cityscapes": "published_masks:cityscapes",
    "mask_folder": "mask_folder:mask_folder",
}
"""Likewise, sources whose targets are masks."""


def create_source(
    name: str,
    *,
    root: Path | None = None,
    download: bool = False,
    manifest: Path | None = None,
    unlabeled: Path | None = None,
    image_size: int | None = None,
    crop_scale: tuple[float, float] | None = None,
    crop_ratio: tuple[float, float] | None = None,
    max_pixels: int | None = None,
    on_bad_image: "OnBadImage | None" = None,
    max_bad_images: int | None = None,
    cache: Path | None = None,
    cache_side: int | None = None,
    class_file: Path | None = None,
    test_fraction: float | None = None,
    num_scenes: int | None = None,
    side: int | None = None,
) -> "Source":
    """Return the source called ``name``; an option left at ``None`` takes the source's own default.

    Args:
        name: one of ``SOURCES`` or ``MASK_SOURCES``.
        root: folder of the files.
        download: fetch published files that are missing.
        manifest: for image folders, as all below: a table ``path,label,split`` instead of folders.
        unlabeled: folder of images without labels.
        image_size: height and width in pixels.
        crop_scale: bounds of a random crop's share of the image's area.
        crop_ratio: bounds of its width over height.
        max_pixels: files with more are refused before they are decoded.
        on_bad_image: ``raise`` or ``skip``.
        max_bad_images: when more of a split are skipped, it is an error after all.
        cache: folder for decoded images.
        cache_side: height and width in pixels of a whole image there.
        class_file: for mask folders: a YAML or JSON file of the classes.
        test_fraction: for mask folders: share of the images for tests, where no folders say which.
        num_scenes: for scenes: number of training scenes.
        side: for scenes: height and width in pixels.

    Raises:
        ValueError: if the name is unknown, the source has no such option, or its files are missing or wrong.
    """
    arguments = {option: value for option, value in locals().items() if option != "name"}
    options = {option: value for option, value in arguments.items() if value is not None and value is not False}
    module, function = find_source(name).split(":")
    builder = getattr(import_module(f"datamodules.sources.{module}"), function)
    check_options(name, options, list(inspect.signature(builder).parameters))
    source: Source = builder(**options)
    return source


def find_source(name: str) -> str:
    """Return where a source is made.

    Raises:
        ValueError: offering the nearest names, if there is none of that name.
    """
    known = SOURCES | MASK_SOURCES
    if name in known:
        return known[name]
    nearest = difflib.get_close_matches(name, known)
    offer = f"did you mean {' or '.join(nearest)}? " if nearest else ""
    raise ValueError(f"--data.source {name}: unknown; {offer}expected one of {', '.join(known)}")


def check_options(name: str, options: dict[str, object], known: list[str]) -> None:
    """Raise ``ValueError`` naming options that the source does not have."""
    unknown = [f"--data.{option} {value}" for option, value in options.items() if option not in known]
    if unknown:
        has = ", ".join(f"--data.{option}" for option in known) or "none"
        raise ValueError(f"{', '.join(unknown)}: the source {name} has no such option (it has: {has}); leave it out")
