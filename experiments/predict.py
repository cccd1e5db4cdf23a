"""Prediction of image files with a checkpoint: masks with their overlays, or a table of classes."""

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from datamodules.batch import unit_interval
from datamodules.mask_files import write_mask
from datamodules.sources.folder_reader import FolderReader, Reading
from experiments.files import as_path, open_atomically
from experiments.input_images import InputImages, with_channels, without_suffix
from experiments.mask_plots import MaskedImage, draw_masks
from experiments.predict_settings import PredictCommand
from lightning_modules.checkpoints import load_network
from lightning_modules.inference import prefers_bfloat16
from lightning_modules.networks import Network
from lightning_modules.networks.names import SEGMENTATION, resolve
from lightning_modules.settings import require
from lightning_modules.sliding_window import SlidingWindow, predict_whole
from lightning_modules.weights import read_file

LARGEST_WHOLE = 1 << 20
"""Pixels of an image that is predicted in one piece: a U-Net of width 64 took 1.7 GiB for 21 classes."""
WINDOW = 512
"""Height and width in pixels of the windows of larger images."""
NUM_BEST = 5
"""Classes in a row of the table, the most probable first."""
IMAGES_AT_ONCE = 64
CHANNELS = (1, 3)


class UnreadableImagesError(RuntimeError):
    """Some files cannot be read; the others were predicted."""


def run(command: PredictCommand) -> None:
    """Predict every image that can be read, say how many and where the predictions are.

    Raises:
        ValueError: there are no images, or an option does not fit the network.
        UnreadableImagesError: some files cannot be read; raised when all others are done.
    """
    device = choose_device(command.accelerator)
    network = cast(Network, load_network(as_path(command.checkpoint))).eval()
    has_masks = resolve(network.spec.name)[0] is SEGMENTATION
    require_fitting(command, network, has_masks)
    images = InputImages.find(as_path(command.input))
    if has_masks:
        images.require_distinct_names()
    output = make_directory(command, images)
    names = class_names(as_path(command.checkpoint), network.spec.num_classes)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    lowered = command.precision == "bfloat16" or (command.precision == "auto" and prefers_bfloat16(device))
    with torch.autocast(device.type, torch.bfloat16, enabled=lowered):
        predict = predict_masks if has_masks else predict_classes
        where = predict(network, images, names, output, command)
    print(f"{len(images.paths) - images.num_unreadable:,} images predicted: {where}", flush=True)
    if images.num_unreadable:
        raise UnreadableImagesError(
            f"{images.num_unreadable:,} of {len(images.paths):,} files cannot be read; they are named above"
        )


def choose_device(accelerator: str) -> torch.device:
    """Return where the network computes.

    Raises:
        ValueError: a GPU is asked for, and there is none that torch can use.
    """
    found = torch.accelerator.current_accelerator(check_available=True)
    require(found is not None or accelerator != "gpu", "accelerator", accelerator, "auto or cpu: torch finds no GPU")
    return torch.device("cpu") if found is None or accelerator == "cpu" else found


def require_fitting(command: PredictCommand, network: Network, has_masks: bool) -> None:
    """Raise a ``ValueError`` where an option is for the other kind of network, or the images' size is not known."""
    spec = network.spec
    expected = "a network for grey or colour images, of 1 or 3 channels"
    require(spec.num_channels in CHANNELS, "checkpoint", f"{spec.name} for {spec.num_channels} channels", expected)
    given = {"image_size": command.image_size} if has_masks else {"window": command.window, "overlap": command.overlap}
    reason = "masks have the images' size" if has_masks else "windows are for masks"
    for option, value in given.items():
        require(value is None, option, value, f"null for {spec.name}: {reason}")
    if has_masks:
        create_window(network, command, LARGEST_WHOLE, LARGEST_WHOLE)  # large, so that window and overlap are checked
    elif command.image_size is None:
        expected = f"the side in pixels of the images that {spec.name} was trained on, which no checkpoint notes"
        require(spec.input_size is not None, "image_size", None, expected)


def make_directory(command: PredictCommand, images: InputImages) -> Path:
    """Make the directory that is written to and return it.

    Raises:
        ValueError: it cannot be made, or is in the folder of the images, where its pictures would be images next time.
    """
    output = as_path(command.output)
    is_inside = output.resolve().is_relative_to(images.root.resolve()) and as_path(command.input).is_dir()
    require(not is_inside, "output", command.output, f"a directory outside of {command.input}, where the images are")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"output: cannot make the directory {output} ({reason}); choose another --output") from error
    return output


def class_names(checkpoint: Path, num_classes: int) -> list[str]:
    """Return the names of the classes that a network was trained on; their numbers where its checkpoint has none."""
    names: list[str] | None = read_file(checkpoint).get("class_names")
    return names or [str(label) for label in range(num_classes)]


def predict_masks(
    network: Network, images: InputImages, names: list[str], output: Path, command: PredictCommand
) -> str:
    """Write the mask of each image, and an overlay where asked; return where they are."""
    device = network.scale.device
    for path, pixels in images.read(lambda row: images.read_whole(row, command.max_pixels)):
        predict = create_window(network, command, *pixels.shape[1:])
        classes = predict(with_channels(pixels, network.spec.num_channels).to(device))[0].cpu().numpy()
        name = f"{without_suffix(path)}.png"
        write_mask(in_new_folder(output / "masks" / name), classes)
        if command.overlays:
            shown = MaskedImage(pixels.permute(1, 2, 0).numpy(), classes, title=path)
            draw_masks(in_new_folder(output / "overlays" / name), [shown], names)
    return f"{output}/masks" + (f" and {output}/overlays" if command.overlays else "")


def create_window(network: Network, command: PredictCommand, height: int, width: int) -> SlidingWindow:
    """Return what predicts an image of that size: in one piece unless it is large, or windows are asked for."""
    is_whole = command.window is None and height * width <= LARGEST_WHOLE
    window = max(height, width) if is_whole else command.window or WINDOW
    overlap = window // 4 if command.overlap is None else command.overlap
    return SlidingWindow(
        network,
        window=window,
        overlap=0 if is_whole else overlap,
        batch_size=command.batch_size or 1,
        flip=command.flip,
    )


def in_new_folder(path: Path) -> Path:
    """Return the path, whose folder is there now."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def predict_classes(
    network: Network, images: InputImages, names: list[str], output: Path, command: PredictCommand
) -> str:
    """Write a row of the table for each image, cropped as image folders are in evaluation; return where it is."""
    size = command.image_size or network.spec.input_size
    assert size is not None, "it was asked for"
    reader = FolderReader.of(images.root, images.paths, Reading(size, max_pixels=command.max_pixels))
    contents = images.read(lambda row: reader(torch.tensor([row]), None)[0][0])
    num_best = min(NUM_BEST, len(names))
    table = output / "predictions.csv"
    with open_atomically(table) as file:
        writer = csv.writer(file, lineterminator="\n")
        others = [f"{what}_{rank}" for rank in range(2, num_best + 1) for what in ("class_name", "confidence")]
        writer.writerow(["path", "label", "class_name", "confidence", *others])
        while batch := list(islice(contents, command.batch_size or IMAGES_AT_ONCE)):
            pixels = torch.stack([with_channels(image, network.spec.num_channels) for _, image in batch])
            probabilities = predict_whole(network, unit_interval(pixels.to(network.scale.device)), command.flip)
            writer.writerows(table_rows([path for path, _ in batch], probabilities.cpu(), names, num_best))
    return str(table)


def table_rows(paths: list[str], probabilities: Tensor, names: list[str], num_best: int) -> Iterator[list[Any]]:
    """Yield a row an image: path, label, then name and probability of each of the most probable classes.

    Args:
        paths: of the images.
        probabilities: ``(N, K)``.
        names: ``K`` names of the classes.
        num_best: how many classes.
    """
    confidences, labels = probabilities.topk(num_best)
    for path, row, best in zip(paths, confidences.tolist(), labels.tolist(), strict=True):
        named = ((names[label], f"{confidence:.6f}") for label, confidence in zip(best, row, strict=True))
        yield [path, best[0], *(value for pair in named for value in pair)]
