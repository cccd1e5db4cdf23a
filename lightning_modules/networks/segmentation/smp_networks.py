"""The networks of segmentation_models_pytorch, an optional extra."""

import difflib
import inspect
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from torch import Tensor, nn

from lightning_modules.networks.published import Published, cannot_be_had, hub_without_retries
from lightning_modules.networks.segmentation.mirroring import mirrored, next_multiple

PACKAGE = "segmentation_models_pytorch"
PREFIX = "smp/"
STRIDE = 32
"""DPT's encoder says 16, but its decoder halves the map once more."""
IMAGENET = Published((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class AnySize(nn.Module):
    """Lets a network that takes multiples of its stride take images of any size.

    Args:
        model: with ``encoder.output_stride`` and a ``segmentation_head``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        stride: int = model.get_submodule("encoder").output_stride  # type: ignore[assignment]
        self.stride = max(stride, STRIDE)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, K, H, W)`` of normalised ``images (N, C, H, W)``, mirrored at their edges."""
        height, width = images.shape[-2:]
        sides = (next_multiple(height, self.stride), next_multiple(width, self.stride))
        logits: Tensor = self.model(mirrored(images, 0, sides))
        return logits[..., :height, :width]

    def get_classifier(self) -> nn.Module:
        """Return the layer that gives the logits."""
        layers = self.model.get_submodule("segmentation_head").modules()
        return [layer for layer in layers if isinstance(layer, nn.Conv2d)][-1]


def names() -> list[str]:
    """Return the names, with their prefix; none where the package is not installed."""
    return [] if find_spec(PACKAGE) is None else [PREFIX + name for name in architectures()]


def architectures() -> dict[str, type[nn.Module]]:
    """Return the classes of the package's networks by their names.

    Raises:
        ValueError: the package is not installed.
    """
    try:
        package = import_module(PACKAGE)
    except ImportError as error:
        raise ValueError(
            f"network: names that begin with {PREFIX} are of a package that is not installed; install it by: "
            "pip install segmentation-models-pytorch"
        ) from error
    return {architecture.__name__: architecture for architecture in package.MODEL_ARCHITECTURES_MAPPING.values()}


def create_smp(
    name: str,
    /,
    num_classes: int,
    num_channels: int,
    *,
    pretrained: bool,
    encoder: str | None = None,
    **options: Any,
) -> nn.Module:
    """Build the network ``name``, without prefix.

    Args:
        name: of its class, such as ``Unet``.
        num_classes: classes ``K``.
        num_channels: channels ``C`` of the images.
        pretrained: take weights of the encoder trained on ImageNet.
        encoder: a name that the package has, or ``tu-NAME`` for timm's; default the package's.
        options: as the class names them.

    Raises:
        ValueError: no such encoder, or weights that cannot be had.
        TypeError: an option that the class does not name; it would swallow some.
    """
    architecture = architectures()[name]
    known = inspect.signature(architecture).parameters
    for option in options:
        if option not in known:
            raise TypeError(f"{name} got an unexpected keyword argument '{option}'")
    encoder = encoder or known["encoder_name"].default
    weights = "imagenet" if pretrained else None
    settings: dict[str, Any] = {"encoder_name": encoder, "encoder_weights": weights, "in_channels": num_channels}
    if name == "DPT":
        settings["dynamic_img_size"] = True  # its transformers take images of one size without it
    try:
        with hub_without_retries("smp-hub"):
            network = AnySize(architecture(classes=num_classes, **settings, **options))
            network.published = published(encoder) if pretrained else IMAGENET  # type: ignore[assignment]
    except KeyError as error:
        raise unknown_encoder(encoder, name) from error
    except OSError as error:
        raise cannot_be_had(encoder, str(error).splitlines()[0]) from error
    return network


def published(encoder: str) -> Published:
    """Return what an encoder's weights were trained on."""
    parameters = import_module(PACKAGE).encoders.get_preprocessing_params(encoder, "imagenet")
    return Published(tuple(parameters["mean"]), tuple(parameters["std"]))


def unknown_encoder(encoder: str, name: str) -> ValueError:
    """Return the error for an encoder that the package does not have, with the nearest names."""
    nearest = difflib.get_close_matches(encoder, import_module(PACKAGE).encoders.get_encoder_names(), n=3)
    hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
    return ValueError(
        f"encoder: got {encoder!r} for '{PREFIX}{name}', expected a name of the package, or tu-NAME of timm's{hint}"
    )
