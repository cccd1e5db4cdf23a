"""From a network's name, and the images it is to take, to the network."""

import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, get_args

from torch import nn

from lightning_modules.networks.names import SEGMENTATION, TIMM, Origin, resolve
from lightning_modules.networks.network import Network, NetworkSpec
from lightning_modules.networks.noise import has_none
from lightning_modules.networks.own_networks import NETWORKS
from lightning_modules.networks.smallest_input import require_large_enough
from lightning_modules.networks.stems import LARGEST_SMALL_SIDE, make_stem_small, small_patches
from lightning_modules.networks.torchvision_networks import ADAPTED, OWN_NAMES

WIDTH_MULTIPLIERS = (0.1, 2.0)
RATES = ("drop_rate", "drop_path_rate")
MULTIPLIED = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large")
"""Networks that have a resolution multiplier beside the width multiplier."""

Stem = Literal["auto", "standard", "small"]
Build = Callable[[dict[str, Any]], nn.Module]


def create_network(
    name: str,
    *,
    num_classes: int,
    num_channels: int = 3,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    pretrained: bool = False,
    image_size: int | None = None,
    input_size: int | None = None,
    stem: Stem = "auto",
    drop_rate: float | None = None,
    drop_path_rate: float | None = None,
    **options: Any,
) -> Network:
    """Build a network by name, wrapped so that it takes images in ``[0, 1]``.

    Args:
        name: one of ``available_networks()``.
        num_classes: classes ``K``.
        num_channels: channels ``C`` of the images.
        mean: per channel, or one for all, in ``[0, 1]``; default the network's own, else 0.5.
        std: likewise.
        pretrained: load the published weights; their mean and standard deviation then go before the ones given.
        image_size: side of the images as they come, in pixels: chooses the stem, and is checked to be large enough.
        input_size: side to which images are resized first, in pixels.
        stem: ``small`` keeps the side of small images, ``standard`` is the published one, ``auto`` takes ``small``
            for images up to 64 pixels that are not resized, where the network has it and is not pretrained.
        drop_rate: dropout as the network has it: before the classifier, in torchvision's DenseNet in every layer.
        drop_path_rate: stochastic depth of the residual blocks.
        **options: handed to the builder, such as ``width_multiplier``; ``resolution_multiplier``, of the MobileNets,
            resizes images to that share of ``image_size``.

    Raises:
        ValueError: the name, an option or pretrained weights are not there, an argument is of a wrong type or out of
            range, or the images are too small.
    """
    origin, plain_name = resolve(name)
    require_counts(num_classes=num_classes, num_channels=num_channels, image_size=image_size, input_size=input_size)
    require_normalisation(mean, std, num_channels)
    require_own_size(name, origin, input_size)
    small = choose_stem(name, stem, image_size, input_size, pretrained)
    input_size = resized(plain_name, image_size, input_size, options.pop("resolution_multiplier", None))
    rates = {"drop_rate": drop_rate, "drop_path_rate": drop_path_rate}
    options |= {option: rate for option, rate in rates.items() if rate is not None}
    require_in_range(plain_name, options)
    require_not_fixed(name, origin, plain_name, options)
    build = partial(origin.create_body, plain_name, num_classes, num_channels, pretrained)
    if small:
        side = input_size or image_size
        body, options = with_small_stem(name, origin, build, options, side, required=stem == "small")
    else:
        body = built(name, build, options)
    if image_size is not None:
        require_large_enough(name, body, num_channels, image_size, input_size)
    published = getattr(body, "published", None) or origin.published(plain_name)
    mean = published.mean if pretrained or not mean else mean
    std = published.std if pretrained or not std else std
    normalisation = per_channel(mean, num_channels), per_channel(std, num_channels)
    return Network(body, NetworkSpec(name, num_classes, num_channels, *normalisation, input_size, options))


def built(name: str, build: Build, options: dict[str, Any]) -> nn.Module:
    """Return the network's body.

    Raises:
        ValueError: it does not take one of the options, or not its value.
    """
    try:
        return build(options)
    except TypeError as error:
        keyword = re.search(r"argument '(\w+)'", str(error))
        names = {theirs: ours for ours, theirs in OWN_NAMES.items() if ours in options}
        option = names.get(keyword[1], keyword[1]) if keyword else None
        if not options:
            raise
        if option not in options:
            raise ValueError(
                f"options: got {options} for {name!r}, expected values that it can be built with ({error})"
            ) from error
        taken = "multiple values" in str(error)
        if option in RATES and not taken:
            raise has_none(name, option, options[option]) from error
        why = "which sets it itself" if taken else "which has no such option"
        raise ValueError(f"{option}: got {options[option]!r} for {name!r}, {why}; leave it out") from error


def with_small_stem(
    name: str, origin: Origin, build: Build, options: dict[str, Any], side: int | None, *, required: bool
) -> tuple[nn.Module, dict[str, Any]]:
    """Return the body with a stem for images of ``side`` pixels, and the options that build it again.

    Raises:
        ValueError: it has none, and one is ``required``.
    """
    is_settled = origin is not TIMM or options.keys() >= {"img_size", "patch_size"}
    options = ({} if is_settled else small_patches(name.rpartition("/")[2], side)) | options
    body = built(name, build, options)
    if "patch_size" in options or make_stem_small(body):
        return body, options | {"stem": "small"}
    if required:
        raise ValueError(
            f"stem: got 'small' for {name!r}, expected 'auto' or 'standard': it has no stem that can be made small; "
            "give input_size for small images"
        )
    return body, options


def choose_stem(name: str, stem: Stem, image_size: int | None, input_size: int | None, pretrained: bool) -> bool:
    """Return whether the stem is to be made small.

    Raises:
        ValueError: there is no such stem, or it would lose published weights.
    """
    if stem not in get_args(Stem):
        raise ValueError(f"stem: got {stem!r}, expected one of {', '.join(get_args(Stem))}")
    if stem == "small" and pretrained:
        raise ValueError(
            f"stem: got 'small' for the pretrained {name!r}, expected 'standard', which has the published weights; "
            "enlarge small images by input_size"
        )
    if stem == "auto":
        return image_size is not None and image_size <= LARGEST_SMALL_SIDE and input_size is None and not pretrained
    return stem == "small"


def require_counts(**counts: int | None) -> None:
    """Raise a ``ValueError`` unless numbers of classes, channels and pixels are 1 or more, where they are given."""
    for option, value in counts.items():
        if value is not None and value < 1:
            raise ValueError(f"{option}: got {value}, expected 1 or more")


def require_normalisation(mean: Sequence[float] | None, std: Sequence[float] | None, num_channels: int) -> None:
    """Raise a ``ValueError`` unless there is a value for each channel, or one for all, and none to divide by is 0."""
    for option, values in (("mean", mean), ("std", std)):
        if values and len(values) not in (1, num_channels):
            raise ValueError(
                f"{option}: got {tuple(values)}, expected one for each of num_channels={num_channels}, or one for all"
            )
    if std and not all(value > 0 for value in std):
        raise ValueError(f"std: got {tuple(std)}, expected numbers above 0; leave it out where it is not known")


def require_own_size(name: str, origin: Origin, input_size: int | None) -> None:
    """Raise a ``ValueError`` where a segmentation network, whose logits are as large as images, is to resize them."""
    if origin is SEGMENTATION and input_size is not None:
        raise ValueError(
            f"input_size: got {input_size} for {name!r}, expected none: its logits have the images' size; leave it "
            "out, and resize images and masks together"
        )


def require_number(option: str, value: Any) -> None:
    """Raise a ``ValueError`` unless the value is a finite number."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{option}: got {value!r}, expected a number, such as 0.5")


def require_in_range(name: str, options: dict[str, Any]) -> None:
    """Raise a ``ValueError`` where a rate, or the width multiplier of a MobileNet, is no number or out of range."""
    for option in (*RATES, "width_multiplier"):
        require_number(option, options.get(option, 0))
    for option in RATES:
        rate = options.get(option, 0)
        if not 0 <= rate < 1:
            raise ValueError(f"{option}: got {rate}, expected a probability in [0, 1), such as 0.2")
    lowest, highest = WIDTH_MULTIPLIERS
    width = options.get("width_multiplier", 1)
    if name in MULTIPLIED and not lowest <= width <= highest:
        raise ValueError(f"width_multiplier: got {width}, expected {lowest} to {highest}; the papers use 0.25 to 1.4")


def require_not_fixed(name: str, origin: Origin, plain_name: str, options: dict[str, Any]) -> None:
    """Raise a ``ValueError`` where an option would build another network than the one of that name."""
    builder = None if origin is TIMM else (NETWORKS | ADAPTED).get(plain_name)
    for option in options.keys() & getattr(builder, "keywords", {}).keys():
        raise ValueError(
            f"{option}: got {options[option]!r} for {name!r}, which sets it itself; leave it out, or choose another "
            "network by its name"
        )


def resized(name: str, image_size: int | None, input_size: int | None, multiplier: Any) -> int | None:
    """Return the side to which images are resized, after the resolution multiplier (Howard et al. 2017, section 3.4).

    Raises:
        ValueError: the multiplier is out of range, or the network or the images have none.
    """
    if multiplier is None:
        return input_size
    if name not in MULTIPLIED:
        raise ValueError(
            f"resolution_multiplier: got {multiplier} for {name!r}, expected it only for {', '.join(MULTIPLIED)}; "
            "use input_size"
        )
    require_number("resolution_multiplier", multiplier)
    if not 0 < multiplier <= 1:
        raise ValueError(f"resolution_multiplier: got {multiplier}, expected a share in (0, 1]; input_size enlarges")
    if image_size is None or input_size is not None:
        raise ValueError(
            f"resolution_multiplier: got {multiplier} with image_size={image_size} and input_size={input_size}, "
            "expected image_size, which it multiplies, and no input_size"
        )
    side: int = max(1, round(multiplier * image_size))
    return side


def per_channel(values: Sequence[float], num_channels: int) -> tuple[float, ...]:
    """Return one value a channel; where the counts differ, their mean for every channel.

    Grey images are what RGB images with three equal channels are, so a published RGB mean becomes its average.
    """
    if len(values) == num_channels:
        return tuple(values)
    return (sum(values) / len(values),) * num_channels
