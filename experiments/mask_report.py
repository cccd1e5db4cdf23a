"""What a trained network makes of a split with masks: the IoU of each class, examples, and what went worst."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor, nn

from datamodules.batch import unit_interval
from datamodules.sources.source import Samples
from experiments.mask_plots import MaskedImage, draw_ious, draw_masks
from lightning_modules.inference import Precision, prepare_for_inference
from lightning_modules.segmentation_metrics import PixelConfusion, class_ious, most_probable_classes


def report_masks(
    network: nn.Module,
    samples: Samples,
    class_names: Sequence[str],
    directory: Path,
    device: torch.device,
    *,
    num_examples: int = 6,
    batch_size: int = 16,
    precision: Precision = "float32",
) -> dict[str, Any]:
    """Draw ``overlays.png``, ``class_iou.png`` and ``worst.png``; return the numbers, as JSON has them.

    Of each image one number is kept, its mean IoU over the classes that are in its mask or predicted there; the few
    that are drawn are read again. Files that cannot be read, where they are skipped, and images of which nothing is
    known are left out. One process does it alone.

    Args:
        network: takes images ``(N, C, H, W)`` in ``[0, 1]``, returns logits ``(N, K, H, W)``.
        samples: images with masks.
        class_names: ``K`` names, in the order of the classes.
        directory: where the pictures go.
        device: where the network computes.
        num_examples: images of ``overlays.png``, evenly spread over the split, and of ``worst.png``.
        batch_size: images that the network is given together.
        precision: in which the network computes.

    Returns:
        ``mean_iou`` and ``class_iou`` by name, over the pixels of all images, ``None`` for classes that neither occur
        nor are predicted; ``worst``: ``id``, ``path`` (``None`` without files) and ``mean_iou`` of the images that
        went worst. Fractions in 0..1.

    Raises:
        ValueError: a mask holds a class that has no name.
    """
    network = prepare_for_inference(network, precision, device, smallest_batch=1)
    of_classes, of_images = measure(network, samples, len(class_names), device, batch_size)
    measured = (~of_images.isnan()).nonzero().flatten()
    worst = measured[of_images[measured].argsort(stable=True)[:num_examples]]
    draw_examples(directory / "overlays.png", network, samples, class_names, device, num_examples)
    titles = [f"IoU {100 * of_images[index]:.1f} %: {title_of(samples, index)}" for index in worst.tolist()]
    images = masked_images(network, samples, worst, titles, device)
    if images:
        draw_masks(directory / "worst.png", images, class_names)
    draw_ious(directory / "class_iou.png", of_classes.tolist(), class_names)
    return {
        "mean_iou": plain(of_classes.nanmean()),
        "class_iou": {name: plain(iou) for name, iou in zip(class_names, of_classes, strict=True)},
        "worst": [describe(samples, index) | {"mean_iou": plain(of_images[index])} for index in worst.tolist()],
    }


def draw_examples(
    path: Path,
    network: nn.Module,
    samples: Samples,
    class_names: Sequence[str],
    device: torch.device,
    num_examples: int = 6,
) -> None:
    """Draw images evenly spread over the samples, those that can be read, with their masks and what is predicted."""
    network = network.to(device).eval()
    spread = torch.linspace(0, len(samples) - 1, min(num_examples, len(samples))).round().long()
    titles = [title_of(samples, index) for index in spread.tolist()]
    images = masked_images(network, samples, spread, titles, device)
    if images:
        draw_masks(path, images, class_names)


def measure(
    network: nn.Module, samples: Samples, num_classes: int, device: torch.device, batch_size: int
) -> tuple[Tensor, Tensor]:
    """Return the IoU of each class ``(K,)`` over all pixels and the mean IoU of each image ``(N,)``, NaN for none."""
    confusion = PixelConfusion(num_classes, sync_on_compute=False).to(device)
    of_images = torch.full((len(samples),), torch.nan, dtype=torch.float64)
    for indices in torch.split(torch.arange(len(samples)), batch_size):
        kept, _, predicted, true = predict(network, samples, indices, device)
        if len(kept):
            confusion.update(predicted, true)
            of_images[kept] = image_ious(predicted, true, num_classes).cpu()
    return class_ious(confusion.compute().double().cpu()), of_images


def image_ious(predicted: Tensor, true: Tensor, num_classes: int) -> Tensor:
    """Return the mean IoU of each image ``(n,)``, NaN for none, of classes ``(n, H, W)``; none but 0..K-1 count."""
    known = (true < num_classes) & (predicted < num_classes)
    means = []
    for which, seen, there in zip(known, predicted, true, strict=True):
        pairs = there[which].int() * num_classes + seen[which]
        matrix = torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)
        means.append(class_ious(matrix.double()).nanmean())
    return torch.stack(means)


@torch.no_grad()
def predict(
    network: nn.Module, samples: Samples, indices: Tensor, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return of the images that can be read: indices ``(n,)``, pixels, predicted and true classes ``(n, H, W)``."""
    pixels, kept = samples.read(indices)
    if not len(kept):
        nothing = torch.empty(0, *pixels.shape[-2:], dtype=torch.uint8)
        return indices[kept], pixels, nothing, nothing
    predicted = most_probable_classes(network(unit_interval(pixels.to(device))))
    return indices[kept], pixels, predicted, samples.read_targets(indices[kept]).to(device)


def masked_images(
    network: nn.Module, samples: Samples, indices: Tensor, titles: Sequence[str], device: torch.device
) -> list[MaskedImage]:
    """Return images with their masks, as they are drawn, of those at ``indices (n,)`` that can be read."""
    images = []
    for index, title in zip(indices.tolist(), titles, strict=True):
        found = predict(network, samples, torch.tensor([index]), device)
        for pixels, predicted, true in zip(*found[1:], strict=True):
            arrays = pixels.permute(1, 2, 0).numpy(), predicted.cpu().numpy(), true.cpu().numpy()
            images.append(MaskedImage(*arrays, title=title))
    return images


def describe(samples: Samples, index: int) -> dict[str, Any]:
    """Return a sample's ``id`` and ``path``, ``None`` without files."""
    return {"id": int(samples.ids[index]), "path": samples.paths[index] if samples.paths is not None else None}


def title_of(samples: Samples, index: int) -> str:
    """Return what an image is called in a picture: its file's name, else its id."""
    return f"id {samples.ids[index]}" if samples.paths is None else PurePosixPath(samples.paths[index]).name


def plain(value: Tensor) -> float | None:
    """Return a number, ``None`` for NaN."""
    return None if value.isnan() else float(value)
