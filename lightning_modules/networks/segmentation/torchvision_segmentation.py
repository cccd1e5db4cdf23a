"""torchvision's segmentation networks."""

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models
from torchvision.models.segmentation.lraspp import LRASPPHead

from lightning_modules.networks.noise import require_noise
from lightning_modules.networks.published import Published
from lightning_modules.networks.torchvision_networks import load_published, replace_first_convolution

NUM_PUBLISHED_CLASSES = 21
"""Pascal VOC's and the background."""
NAMES: tuple[str, ...] = tuple(models.list_models(module=models.segmentation))


class TorchvisionSegmentation(nn.Module):
    """A network of torchvision that returns logits of the images' size, in training those of its auxiliary head too.

    Its state dictionary has torchvision's keys.

    Args:
        model: DeepLabV3 (Chen et al. 2017), FCN (Long et al. 2015) or LR-ASPP (Howard et al. 2019).
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone = model.get_submodule("backbone")
        self.classifier = model.get_submodule("classifier")
        self.aux_classifier = getattr(model, "aux_classifier", None)
        self.auxiliary_heads = ("aux_classifier",) if self.aux_classifier is not None else ()

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return logits ``(N, K, H, W)`` of normalised ``images (N, C, H, W)``; in training the auxiliary ones too."""
        size = images.shape[-2:]
        maps = self.backbone(images)
        scores = self.classifier(maps if isinstance(self.classifier, LRASPPHead) else maps["out"])
        logits = F.interpolate(scores, size, mode="bilinear")
        if not self.training or self.aux_classifier is None:
            return logits
        return logits, F.interpolate(self.aux_classifier(maps["aux"]), size, mode="bilinear")

    def get_classifier(self) -> list[nn.Module]:
        """Return the layers that give the logits."""
        if isinstance(self.classifier, LRASPPHead):
            return [self.classifier.low_classifier, self.classifier.high_classifier]
        return [self.classifier.get_submodule("4")]


def create_torchvision_segmentation(
    name: str, /, num_classes: int, num_channels: int, *, pretrained: bool, drop_rate: float | None = None
) -> nn.Module:
    """Build torchvision's ``name``.

    Args:
        name: one of ``NAMES``.
        num_classes: classes ``K``.
        num_channels: channels ``C`` of the images.
        pretrained: take the weights trained on COCO with Pascal VOC's classes.
        drop_rate: dropout of the heads.

    Raises:
        ValueError: weights that cannot be reached, or a rate that the network lacks.
    """
    heads = {} if name.startswith("lraspp") else {"aux_loss": True}
    model = models.get_model(
        name,
        weights=None,
        weights_backbone=None,
        num_classes=NUM_PUBLISHED_CLASSES if pretrained else num_classes,
        **heads,
    )
    if pretrained:
        load_published(name, model)
        replace_classifiers(model, num_classes)
    replace_first_convolution(model, num_channels)
    if drop_rate is not None:
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = drop_rate
    require_noise(name, model, drop_rate, None)
    return TorchvisionSegmentation(model)


def replace_classifiers(model: nn.Module, num_classes: int) -> None:
    """Give every head of the published classes ``num_classes`` and new weights."""
    if num_classes == NUM_PUBLISHED_CLASSES:
        return
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Conv2d) and module.out_channels == NUM_PUBLISHED_CLASSES:
            model.set_submodule(name, nn.Conv2d(module.in_channels, num_classes, 1))


def published(name: str) -> Published:
    """Return what the weights of ``name`` were trained on."""
    transforms = models.get_model_weights(name).DEFAULT.transforms()
    return Published(tuple(transforms.mean), tuple(transforms.std), transforms.resize_size[0])
