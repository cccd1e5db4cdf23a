"""Networks of torchvision: a few adapted by hand, the others of its classification models as they are."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, get_type_hints

from timm.models import adapt_input_conv
from torch import Tensor, nn
from torchvision import models

from lightning_modules.networks.inception_auxiliary import AuxiliaryClassifier
from lightning_modules.networks.noise import require_noise
from lightning_modules.networks.published import Published, cannot_be_had, current_keys, require_reachable

NUM_PUBLISHED_CLASSES = 1000
OWN_NAMES = {"drop_rate": "dropout", "drop_path_rate": "stochastic_depth_prob"}
"""What most models of torchvision call our options."""


def create_alexnet(num_classes: int, *, drop_rate: float = 0.5) -> nn.Module:
    """Return AlexNet (Krizhevsky 2014, the one-column variant)."""
    body: nn.Module = models.alexnet(num_classes=num_classes, dropout=drop_rate)
    return body


def create_googlenet(num_classes: int, *, drop_rate: float = 0.2) -> nn.Module:
    """Return GoogLeNet with its two auxiliary classifiers (Szegedy et al. 2015, section 5)."""
    body: nn.Module = models.googlenet(num_classes=num_classes, dropout=drop_rate, aux_logits=True, init_weights=True)
    body.auxiliary_heads = ("aux1", "aux2")  # type: ignore[assignment]
    return body


def create_inception_v3(num_classes: int, *, drop_rate: float = 0.5) -> nn.Module:
    """Return Inception-v3 with its auxiliary classifier (Szegedy et al. 2016, section 4), also for small maps."""
    body: nn.Module = models.inception_v3(
        num_classes=num_classes, dropout=drop_rate, aux_logits=True, init_weights=True
    )
    body.AuxLogits = AuxiliaryClassifier(body.get_submodule("AuxLogits"))
    body.auxiliary_heads = ("AuxLogits",)  # type: ignore[assignment]
    return body


def create_mobilenet_v2(num_classes: int, *, drop_rate: float = 0.2, width_multiplier: float = 1.0) -> nn.Module:
    """Return MobileNet V2 (Sandler et al. 2018), ``width_multiplier`` times as wide."""
    body: nn.Module = models.mobilenet_v2(num_classes=num_classes, dropout=drop_rate, width_mult=width_multiplier)
    return body


def create_mobilenet_v3(
    num_classes: int,
    *,
    builder: Callable[..., nn.Module],
    last_width: int,
    drop_rate: float = 0.2,
    width_multiplier: float = 1.0,
) -> nn.Module:
    """Return MobileNet V3 (Howard et al. 2019), ``width_multiplier`` times as wide.

    Batch norms have PyTorch's momentum of 0.1. With torchvision's 0.01, made for many thousand steps, running
    statistics lag behind: after 200 steps on Fashion-MNIST evaluation was still at chance.

    Below 1 the ``last_width`` of the classifier's hidden layer stays, as in the authors' code and in V2 (Sandler et
    al. 2018, section 4); torchvision narrows it too.
    """
    body = builder(num_classes=num_classes, dropout=drop_rate, width_mult=width_multiplier)
    for layer in body.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.1
    if width_multiplier < 1:
        hidden = body.get_submodule("classifier.0")
        assert isinstance(hidden, nn.Linear), "torchvision's classifier begins with a linear layer"
        for name, linear in (
            ("classifier.0", nn.Linear(hidden.in_features, last_width)),
            ("classifier.3", nn.Linear(last_width, num_classes)),
        ):
            nn.init.normal_(linear.weight, std=0.01)
            nn.init.zeros_(linear.bias)
            body.set_submodule(name, linear)
    return body


def create_shufflenet_v2_cifar(num_classes: int) -> nn.Module:
    """Return ShuffleNetV2 of width 1 with a 1×1 stem of stride 1 and no pooling (Tian et al. 2020, CIFAR tables)."""
    body: nn.Module = models.shufflenet_v2_x1_0(num_classes=num_classes)
    stem = nn.Conv2d(3, 24, 1, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    body.set_submodule("conv1.0", stem)
    body.set_submodule("maxpool", nn.Identity())
    return body


ADAPTED: dict[str, Callable[..., nn.Module]] = {
    "alexnet": create_alexnet,
    "googlenet": create_googlenet,
    "inception_v3": create_inception_v3,
    "mobilenet_v2": create_mobilenet_v2,
    "mobilenet_v3_small": partial(create_mobilenet_v3, builder=models.mobilenet_v3_small, last_width=1024),
    "mobilenet_v3_large": partial(create_mobilenet_v3, builder=models.mobilenet_v3_large, last_width=1280),
    "shufflenetv2_cifar": create_shufflenet_v2_cifar,
}
"""Names that need no prefix."""


def names() -> list[str]:
    """Return the names of torchvision's classification models and of those we make of them."""
    return [*ADAPTED, *(name for name in models.list_models(module=models) if name not in ADAPTED)]


def published(name: str) -> Published:
    """Return what the weights of ``name`` were trained on."""
    if name == "shufflenetv2_cifar":
        return Published()
    transforms = models.get_model_weights(name).DEFAULT.transforms()
    if name in ("googlenet", "inception_v3"):  # weights from elsewhere, which want [-1, 1]
        return Published(input_size=transforms.crop_size[0])
    return Published(tuple(transforms.mean), tuple(transforms.std), transforms.crop_size[0])


def create_body(name: str, num_classes: int, num_channels: int, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    """Build torchvision's ``name``.

    Raises:
        ValueError: published weights that are not there or cannot be reached, or a rate that the model lacks.
        TypeError: an option that the model does not take.
    """
    if name in ADAPTED:
        builder = partial(ADAPTED[name], **options)
    else:
        builder = partial(models.get_model_builder(name), **with_own_names(name, options))
    body: nn.Module = builder(num_classes=NUM_PUBLISHED_CLASSES if pretrained else num_classes)
    if pretrained:
        load_published(name, body)
        replace_classifiers(body, num_classes)
    replace_first_convolution(body, num_channels)
    require_noise(name, body, options.get("drop_rate"), options.get("drop_path_rate"))
    return body


def with_own_names(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options by the names that torchvision's model has: DenseNet's ``drop_rate`` is called as ours."""
    model = get_type_hints(models.get_model_builder(name))["return"]
    known = inspect.signature(model).parameters
    return {option if option in known else OWN_NAMES.get(option, option): value for option, value in options.items()}


def load_published(name: str, body: nn.Module) -> None:
    """Load torchvision's best weights of ``name``, all keys of them.

    Raises:
        ValueError: there are none, they cannot be reached, or they do not fit the body.
    """
    if name == "shufflenetv2_cifar":
        raise ValueError(f"pretrained: got True for {name!r}, expected False: it has no published weights")
    weights = models.get_model_weights(name).DEFAULT
    require_reachable(name, weights.url)
    try:
        state = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise cannot_be_had(name, str(error).splitlines()[0]) from error
    try:
        body.load_state_dict(current_keys(state))
    except RuntimeError as error:
        raise ValueError(
            f"pretrained: got True for {name!r}, expected layers that the published weights fit "
            f"({' '.join(str(error).split())[:300]}); leave out options that change the layers"
        ) from error


def replace_classifiers(body: nn.Module, num_classes: int) -> None:
    """Give every classifier of the published classes, the auxiliary ones too, ``num_classes`` and new weights."""
    if num_classes == NUM_PUBLISHED_CLASSES:
        return
    for name, module in list(body.named_modules()):
        if isinstance(module, nn.Linear) and module.out_features == NUM_PUBLISHED_CLASSES:
            body.set_submodule(name, nn.Linear(module.in_features, num_classes))
        elif isinstance(module, nn.Conv2d) and module.out_channels == NUM_PUBLISHED_CLASSES:
            body.set_submodule(name, nn.Conv2d(module.in_channels, num_classes, module.kernel_size))  # type: ignore[arg-type]


def replace_first_convolution(body: nn.Module, num_channels: int) -> None:
    """Let the first convolution take ``num_channels`` in place of RGB, its weights summed or repeated to scale."""
    convolution = next(module for module in body.modules() if isinstance(module, nn.Conv2d))
    if convolution.in_channels != num_channels:
        weight: Tensor = adapt_input_conv(num_channels, convolution.weight.detach())
        convolution.in_channels = num_channels
        convolution.weight = nn.Parameter(weight)
