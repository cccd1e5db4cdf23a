"""The networks of the field that this project shows.

The tests distil from and into one or more of each family; of the others, they run shapes forward and backward.
"""

FEATURED: dict[str, tuple[str, ...]] = {
    "Plain CNN": ("cnn_tiny", "cnn_small", "cnn_medium", "cnn_large"),
    "LeNet": ("lenet5",),
    "AlexNet": ("alexnet",),
    "VGG": ("vgg11", "vgg16", "vgg19"),
    "Inception": ("googlenet", "inception_v3"),
    "ResNet": ("resnet18", "resnet34", "resnet50", "resnet101"),
    "DenseNet": ("densenet121",),
    "SE-ResNet": ("seresnet50",),
    "Deformable ResNet": ("deformable_resnet18", "deformable_resnet50"),
    "MobileNet": ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"),
    "EfficientNet": tuple(f"efficientnet_b{number}" for number in range(8)),
    "EfficientNetV2": ("efficientnetv2_s", "efficientnetv2_m", "efficientnetv2_l"),
    "ConvNeXt": ("convnext_atto", "convnext_tiny"),
    "ViT": ("vit_tiny_patch16_224", "vit_small_patch16_224"),
    "ResNet for CIFAR": (
        *(f"resnet{depth}" for depth in (8, 14, 20, 32, 44, 56, 110)),
        "resnet8x4",
        "resnet32x4",
    ),
    "Wide ResNet": ("wrn_16_1", "wrn_16_2", "wrn_40_1", "wrn_40_2"),
    "VGG for CIFAR": ("vgg8_cifar", "vgg13_cifar"),
    "ShuffleNetV2": ("shufflenetv2_cifar",),
}
"""Family to names."""

NEEDED_INPUT = {"alexnet": 63, "vgg11": 32, "vgg16": 32, "vgg19": 32, "inception_v3": 75}
"""Side in pixels to which 28×28 images must be resized, of the networks that have no stem for small images."""

NEEDED_BY_STANDARD_STEM = {"densenet121": 32, "convnext_atto": 32, "convnext_tiny": 32}
"""Likewise, of those that have one and are asked for the published stem."""


def featured_networks() -> list[str]:
    """Return the names of all families."""
    return [name for names in FEATURED.values() for name in names]
