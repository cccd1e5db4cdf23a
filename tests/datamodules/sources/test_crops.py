import math

import pytest
import torch
from torchvision.transforms import InterpolationMode, v2

from datamodules.augmentation.keys import sample_keys
from datamodules.sources.crops import (
    Crop,
    Frame,
    carry_over,
    crop_and_resize,
    crop_draws,
    random_crop,
    reduction,
    resize,
    resize_and_center_crop,
    widest_crop,
)

SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)


def random_image(height, width):
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def many_crops(height, width, count=4000):
    keys = sample_keys(0, torch.zeros(count, dtype=torch.int64), torch.arange(count))
    return [random_crop(draws, height, width, SCALE, RATIO) for draws in crop_draws(keys)]


def test_crops_lie_within_the_image_and_the_bounds():
    for crop in many_crops(300, 400):
        assert 0 <= crop.top <= 300 - crop.height
        assert 0 <= crop.left <= 400 - crop.width
        assert 0.079 <= crop.height * crop.width / 120_000 <= 1
        assert 0.74 <= crop.width / crop.height <= 1.35


def test_crops_are_distributed_as_torchvision_distributes_them():
    torch.manual_seed(0)
    image = torch.zeros(1, 300, 400)
    theirs = torch.tensor([list(v2.RandomResizedCrop(8).make_params([image]).values()) for _ in range(4000)]).float()
    ours = torch.tensor(many_crops(300, 400)).float()
    assert torch.allclose(ours.mean(0), theirs.mean(0), atol=6)
    assert torch.allclose(ours.std(0), theirs.std(0), atol=5)


def test_positions_reach_both_edges():
    crops = many_crops(300, 400)
    assert min(crop.top for crop in crops) == 0
    assert any(crop.top + crop.height == 300 for crop in crops)
    assert any(crop.left + crop.width == 400 for crop in crops)


def test_a_crop_depends_on_its_key_alone():
    keys = sample_keys(3, torch.zeros(4, dtype=torch.int64), torch.arange(4))
    assert crop_draws(keys)[2] == crop_draws(keys[2:3])[0]
    assert crop_draws(keys)[0] != crop_draws(keys)[1]


def test_the_first_attempt_is_the_equation():
    draws = [[0.5, 0.5, 0.0, 0.999]] + [[0.0] * 4] * 9
    side = round(math.sqrt(300 * 400 * (0.08 + 0.5 * 0.92)))
    assert random_crop(draws, 300, 400, SCALE, RATIO) == Crop(0, 400 - side, side, side)


@pytest.mark.parametrize(("height", "width", "crop"), [(10, 100, Crop(0, 43, 10, 13)), (100, 10, Crop(43, 0, 13, 10))])
def test_an_image_too_narrow_gives_its_widest_crop(height, width, crop):
    assert random_crop([[1.0, 0.5, 0.5, 0.5]] * 10, height, width, (1.0, 1.0), RATIO) == crop
    assert widest_crop(height, width, RATIO) == crop


def test_a_single_pixel_can_be_cropped():
    assert random_crop([[0.0] * 4] * 10, 1, 1, SCALE, RATIO) == Crop(0, 0, 1, 1)


@pytest.mark.parametrize(("height", "width"), [(60, 80), (80, 60), (33, 47), (224, 224), (20, 90)])
def test_the_centre_view_is_torchvisions(height, width):
    image = random_image(height, width)
    reference = v2.Compose([v2.Resize(36, InterpolationMode.BILINEAR, antialias=True), v2.CenterCrop(32)])(image)
    ours = resize_and_center_crop(Frame(image, height, width), 36, 32)
    assert torch.equal(ours, reference)


def test_crop_and_resize_is_torchvisions():
    image = random_image(60, 80)
    ours = crop_and_resize(Frame(image, 60, 80), Crop(10, 5, 40, 30), 24)
    assert torch.equal(ours, v2.functional.resized_crop(image, 10, 5, 40, 30, [24, 24], antialias=True))


def test_a_stored_frame_gives_the_crop_of_the_image():
    image = random_image(4, 4).float()
    smooth = v2.functional.resize(image, [120, 160], antialias=True).round().to(torch.uint8)
    stored = Frame(resize(smooth, 80, 80), 120, 160)
    crop = Crop(30, 40, 60, 60)
    whole = crop_and_resize(Frame(smooth, 120, 160), crop, 24)
    assert (crop_and_resize(stored, crop, 24).int() - whole.int()).abs().max() <= 6


def test_a_fourth_channel_is_dropped():
    image = random_image(60, 80)
    four = torch.cat([image, image[:1]])
    assert torch.equal(resize(four, 24, 30), resize(image, 24, 30))
    assert torch.equal(resize(four, 60, 80), image)


def test_carried_over_intervals_keep_a_pixel():
    assert carry_over(10, 20, 100, 50) == (5, 15)
    assert carry_over(0, 100, 100, 30) == (0, 30)
    assert carry_over(99, 1, 100, 10) == (9, 10)


@pytest.mark.parametrize(
    ("available", "needed", "factor"), [(447, 224, 1), (448, 224, 2), (900, 224, 4), (9999, 224, 8)]
)
def test_reduction_leaves_what_is_needed(available, needed, factor):
    assert reduction(available, needed) == factor
