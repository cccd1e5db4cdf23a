"""From a segmentation network's name to the network."""

import difflib
from collections.abc import Sequence
from typing import Any

from lightning_modules.networks.names import SEGMENTATION, resolve
from lightning_modules.networks.network import Network
from lightning_modules.networks.registry import create_network


def create_segmentation_network(
    name: str,
    *,
    num_classes: int,
    num_channels: int = 3,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    pretrained: bool = False,
    encoder: str | None = None,
    upsampling: str | None = None,
    drop_rate: float | None = None,
    drop_path_rate: float | None = None,
    **options: Any,
) -> Network:
    """Build a network that gives logits ``(N, K, H, W)`` for images ``(N, C, H, W)`` in ``[0, 1]`` of any size.

    It is what ``create_network`` builds by the same name, but no classification network.

    Args:
        name: such as ``unet``, ``fcn8s``, ``deeplabv3_resnet50`` or ``smp/Unet``.
        num_classes: classes ``K``.
        num_channels: channels ``C`` of the images.
        mean: per channel, or one for all, in ``[0, 1]``.
        std: likewise.
        pretrained: take published weights: of the encoder, of all but the head in torchvision's.
        encoder: classification network that ``unet`` and the ``fcn``s build on; in ``smp/`` a name of that package.
        upsampling: how ``unet`` and the ``fcn``s enlarge maps, a key of ``UPSAMPLING``.
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth of the encoder.
        options: handed to the builder: ``width``, ``depth``, ``padding`` and ``upsampling_kernel`` of ``unet``.

    Raises:
        ValueError: the name, an option or pretrained weights are not there, or an argument is out of range.
    """
    require_segmentation(name)
    names = {"encoder": encoder, "upsampling": upsampling}
    options |= {option: value for option, value in names.items() if value is not None}
    return create_network(
        name,
        num_classes=num_classes,
        num_channels=num_channels,
        mean=mean,
        std=std,
        pretrained=pretrained,
        drop_rate=drop_rate,
        drop_path_rate=drop_path_rate,
        **options,
    )


def require_segmentation(name: str) -> None:
    """Raise a ``ValueError`` unless the name is of a segmentation network; it offers one for other networks."""
    known = SEGMENTATION.names()
    nearest = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(nearest)}?" if nearest else f"choose one of {', '.join(known)}"
    try:
        origin, _ = resolve(name)
    except ValueError as error:
        if name.startswith("smp/"):
            raise
        raise ValueError(f"network: got {name!r}, expected a segmentation network; {hint}") from error
    if origin is not SEGMENTATION:
        raise ValueError(
            f"network: got {name!r}, a classification network, expected a segmentation network; use unet or fcn8s with "
            f"encoder={name!r}"
        )
