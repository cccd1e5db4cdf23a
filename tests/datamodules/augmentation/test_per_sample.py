import random

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from datamodules.augmentation.keys import fold_in, sample_keys
from datamodules.augmentation.per_sample import PerSampleTransform

IMAGES = torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8)
KEYS = sample_keys(0, torch.zeros(6, dtype=torch.int64), torch.arange(6))
OPERATION = PerSampleTransform(
    v2.Compose([v2.RandomResizedCrop(12), v2.RandomApply([v2.ColorJitter(0.4)]), v2.RandomHorizontalFlip()])
)


def noise(image):
    """Draws from all three global generators."""
    shift = random.randrange(256) + np.random.randint(256) + int(torch.randint(256, ()))
    return image + shift


@pytest.mark.parametrize("operation", [OPERATION, PerSampleTransform(noise)])
def test_results_depend_on_the_key_alone(operation):
    expected = operation(IMAGES, KEYS)
    torch.manual_seed(99)
    random.seed(99)
    np.random.seed(99)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    assert torch.equal(operation(IMAGES[order], KEYS[order]), expected[order])
    assert torch.equal(torch.cat([operation(IMAGES[:2], KEYS[:2]), operation(IMAGES[2:], KEYS[2:])]), expected)
    assert not torch.equal(operation(IMAGES, fold_in(KEYS, 0)), expected)


def test_global_random_states_are_left_alone():
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    expected = random.random(), np.random.rand(), torch.rand(())
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    PerSampleTransform(noise)(IMAGES, KEYS)
    assert (random.random(), np.random.rand(), torch.rand(())) == expected


def test_images_of_other_kinds_are_refused():
    with pytest.raises(ValueError, match=r"transform: got .*float32.*, expected uint8 images of one size; resize"):
        PerSampleTransform(v2.ToDtype(torch.float32, scale=True))(IMAGES, KEYS)
    with pytest.raises(ValueError, match="expected uint8 images of one size"):
        PerSampleTransform(lambda image: image[:, : random.randrange(1, 16)])(IMAGES, KEYS)
