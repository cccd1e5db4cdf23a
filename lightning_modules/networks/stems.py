"""Stems for small images: a network made for 224 pixels must not pool 28 of them to nothing.

The first convolution becomes 3×3 with stride 1, and the max pool right after it goes, as He et al. (2016, section 4.2)
have it for CIFAR; ConvNeXt and ViT take smaller patches.
"""

from typing import Any

from timm.models import is_model_in_modules
from torch import nn

LARGEST_SMALL_SIDE = 64
"""Pixels up to which images count as small."""

PLACES = (
    ("conv1", "maxpool"),  # ResNet
    ("conv1.0", "maxpool"),  # ResNet with a deep stem, ShuffleNetV2
    ("conv1.conv", "maxpool1"),  # GoogLeNet
    ("features.conv0", "features.pool0"),  # DenseNet
    ("conv_stem", None),  # timm's EfficientNet and MobileNet
    ("features.0", None),  # MobileNet V1
    ("features.0.0", None),  # torchvision's EfficientNet and MobileNet V2 and V3
)
"""Where the first convolution is, and the pool after it."""


def make_stem_small(body: nn.Module) -> bool:
    """Change the stem in place; return whether there was one that halves the image."""
    for convolution_name, pool_name in PLACES:
        convolution = find(body, convolution_name)
        if not isinstance(convolution, nn.Conv2d) or convolution.stride != (2, 2):
            continue
        if pool_name is not None:
            if find(body, pool_name) is None:
                continue
            body.set_submodule(pool_name, nn.Identity())
        body.set_submodule(convolution_name, with_stride_one(convolution))
        return True
    return False


def with_stride_one(convolution: nn.Conv2d) -> nn.Conv2d:
    """Return a 3×3 convolution of stride 1: the same one where it is 3×3 already, else one with new weights."""
    if convolution.kernel_size == (3, 3):
        convolution.stride = (1, 1)
        return convolution
    has_bias = convolution.bias is not None
    small = nn.Conv2d(convolution.in_channels, convolution.out_channels, 3, padding=1, bias=has_bias)
    nn.init.kaiming_normal_(small.weight, mode="fan_out", nonlinearity="relu")
    return small


def find(body: nn.Module, name: str) -> nn.Module | None:
    """Return the submodule of that dotted name, ``None`` where there is none."""
    try:
        return body.get_submodule(name)
    except AttributeError:
        return None


def small_patches(name: str, image_size: int | None) -> dict[str, Any]:
    """Return the options that make timm's ConvNeXt or ViT ``name`` fit small images; none for other networks.

    Raises:
        ValueError: a ViT, whose position embedding has a size, without ``image_size``; or no patch divides it.
    """
    if is_model_in_modules(name, {"convnext"}):
        return {"patch_size": 1 if image_size is None or image_size <= LARGEST_SMALL_SIDE // 2 else 2}
    if is_model_in_modules(name, {"vision_transformer", "deit"}):
        if image_size is None:
            raise ValueError(f"image_size: got None for {name!r}, expected the images' side, which patches divide")
        return {"img_size": image_size, "patch_size": vit_patch(name, image_size)}
    return {}


def vit_patch(name: str, image_size: int) -> int:
    """Return the smallest patch that divides the side into two to eight patches: 4 for 28 and 32 pixels."""
    patches = [patch for patch in range(1, image_size) if image_size % patch == 0 and image_size // patch <= 8]
    if not patches:
        raise ValueError(
            f"image_size: got {image_size} for {name!r}, expected a side that 2 to 8 patches divide; "
            "set input_size=224 and stem='standard', or pad the images"
        )
    return patches[0]
