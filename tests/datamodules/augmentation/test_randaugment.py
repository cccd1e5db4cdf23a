import pytest
import torch
from torchvision.transforms import InterpolationMode, v2

from datamodules.augmentation.keys import sample_keys
from datamodules.augmentation.randaugment import OPERATIONS, RandAugment, rand_augment

NUM = 16

PEER = v2.RandAugment(2, 9)

# Without a fused multiply-add, torchvision may cut a sum next to a whole number to the other side of it.
TOLERANCE = {"Color": 1, "Contrast": 1, "Sharpness": 1}


def torchvision_space(magnitude, height, width):
    for name, (bins, signed) in PEER._AUGMENTATION_SPACE.items():
        table = bins(31, height, width)
        yield name, 0.0 if table is None else float(table[magnitude]), signed


def test_the_operations_are_those_of_torchvision():
    assert tuple(PEER._AUGMENTATION_SPACE) == OPERATIONS


@pytest.mark.parametrize("magnitude", [0, 9, 20, 30])
@pytest.mark.parametrize("shape", [(NUM, 1, 28, 28), (NUM, 3, 24, 33)])
def test_every_operation_is_that_of_torchvision(shape, magnitude):
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    for choice, (name, strength, signed) in enumerate(torchvision_space(magnitude, *shape[2:])):
        for sign in (1, -1) if signed else (1,):
            apply = PEER._apply_image_or_video_transform
            expected = torch.stack([apply(i, name, sign * strength, InterpolationMode.NEAREST, {}) for i in images])
            ours = rand_augment(images, torch.full((NUM, 1), choice), torch.full((NUM, 1), sign), magnitude)
            difference = (ours.int() - expected.int()).abs()
            assert int(difference.max()) <= TOLERANCE.get(name, 0), name
            assert (difference > 0).float().mean() < 0.001, name


def test_operations_follow_one_another_in_each_image():
    images = torch.randint(0, 256, (200, 3, 16, 16), dtype=torch.uint8)
    choices, signs = torch.randint(0, len(OPERATIONS), (200, 3)), torch.randint(0, 2, (200, 3)) * 2 - 1
    together = rand_augment(images, choices, signs, 9)
    for position in range(3):
        images = torch.cat(
            [
                rand_augment(image, choice, sign, 9)
                for image, choice, sign in zip(
                    images.split(1),
                    choices[:, position : position + 1].split(1),
                    signs[:, position : position + 1].split(1),
                    strict=True,
                )
            ]
        )
    assert torch.equal(together, images)


def test_operations_and_signs_are_drawn_alike_and_independently():
    drawn = {}

    def record(images, choices, signs, magnitude):
        drawn.update(choices=choices, signs=signs, magnitude=magnitude)
        return images

    num = 14 * 400
    keys = sample_keys(0, torch.zeros(num, dtype=torch.int64), torch.arange(num))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datamodules.augmentation.randaugment.rand_augment", record)
        RandAugment(2, 17)(torch.zeros(num, 1, 1, 1, dtype=torch.uint8), keys)
    assert drawn["magnitude"] == 17
    pairs = drawn["choices"][:, 0] * 14 + drawn["choices"][:, 1]
    counts = pairs.bincount(minlength=196)
    assert ((counts - num / 196) ** 2 / (num / 196)).sum() < 195 + 4 * (2 * 195) ** 0.5
    assert drawn["signs"].unique().tolist() == [-1, 1]
    assert drawn["signs"].float().mean().abs() < 0.05
