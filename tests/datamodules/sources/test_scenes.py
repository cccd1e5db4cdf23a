"""Scenes: what is in them, which objects and photographs they are made of, and that they are the same again."""

import dataclasses
import time

import pytest
import torch

from datamodules.augmentation.keys import fold_in, sample_keys
from datamodules.sources import create_source
from datamodules.sources.digits import digits
from datamodules.sources.scene_drawing import Material, backgrounds, draw_scenes, placed, placed_well
from datamodules.sources.scenes import digit_scenes, scenes_of
from datamodules.sources.source import PixelArray

NUM_SCENES = 250


@pytest.fixture(scope="module")
def scenes_and_seconds():
    begin = time.process_time()
    return digit_scenes(NUM_SCENES), time.process_time() - begin


@pytest.fixture
def scenes(scenes_and_seconds):
    return scenes_and_seconds[0]


def masks_of(samples):
    return samples.read_targets(torch.arange(len(samples)))


def test_scenes_show_one_to_three_digits_that_overlap_over_a_background(scenes):
    masks = masks_of(scenes.train)
    classes = [set(mask.unique().tolist()) for mask in masks]
    assert all(0 in present for present in classes)
    counts = torch.tensor([len(present) - 1 for present in classes]).bincount()
    assert counts[0] == 0
    assert (counts[1:] > 40).all()
    assert len(counts) == 4
    shares = masks.flatten().bincount(minlength=11) / masks.numel()
    assert 0.75 < shares[0] < 0.9
    assert (shares[1:] > 0.01).all()
    assert scenes.class_names == ("background", *map(str, range(10)))


def test_digits_have_26_to_41_pixels():
    full = Material(torch.full((5, 1, 8, 8), 255, dtype=torch.uint8), torch.arange(5), [photograph(0)], 0.5)
    _, masks = draw_scenes(full, torch.arange(200), 64)
    single = [mask > 0 for mask in masks if len(mask.unique()) == 2]
    areas = torch.tensor([float(mask.sum()) for mask in single])
    assert 26**2 * 0.9 < areas.min() < 31**2
    sides = areas[areas <= 41**2 * 1.02].sqrt()
    assert 36 < sides.max() < 42


def photograph(level, height=200, width=160):
    return torch.full((3, height, width), level, dtype=torch.uint8)


def test_a_mask_is_where_the_scene_differs_from_its_background():
    ring = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    ring[..., 1:7, 2:6] = 255
    material = Material(ring, torch.tensor([6]), [photograph(128)], 0.5)
    pixels, masks = draw_scenes(material, torch.arange(50), 64)
    assert set(masks.unique().tolist()) == {0, 7}
    changed = (pixels != 128).any(dim=1)
    assert (changed[masks == 7]).float().mean() > 0.99
    assert (changed[masks == 0]).float().mean() < 0.06  # soft edges


def test_objects_in_front_hide_those_behind():
    full = Material(torch.full((10, 1, 8, 8), 255, dtype=torch.uint8), torch.arange(10), [photograph(0)], 0.5)
    _, masks = draw_scenes(full, torch.arange(150), 64)
    areas = [mask.flatten().bincount()[1:].sort(descending=True).values[1] for mask in masks if len(mask.unique()) == 3]
    assert min(areas) < 26**2 / 2  # hidden in part
    assert max(areas) > 26**2  # not at all


def test_of_two_places_an_object_takes_that_where_it_hides_less():
    full = Material(torch.full((1, 1, 8, 8), 255, dtype=torch.uint8), torch.zeros(1).long(), [photograph(0)], 0.5)
    keys = sample_keys(0, torch.zeros(300).long(), torch.arange(300))
    masks = torch.zeros(300, 64, 64, dtype=torch.uint8)
    masks[:, :, :32] = 1
    chosen = placed_well(full, torch.zeros(300).long(), keys, masks)
    first, second = (placed(full.objects[[0] * 300].float() / 255, fold_in(keys, place), 64) for place in range(2))
    hidden = [((each[:, 0] >= 0.5) & (masks > 0)).sum(dim=(1, 2)) for each in (chosen, first, second)]
    assert torch.equal(hidden[0], torch.minimum(hidden[1], hidden[2]))
    assert (hidden[1] < hidden[2]).any()
    assert (hidden[2] < hidden[1]).any()
    assert (hidden[0] > 0).float().mean() > 0.3  # objects overlap nevertheless


def test_colours_sizes_and_contrast_vary(scenes):
    images, masks = scenes.train.images(torch.arange(NUM_SCENES)).float(), masks_of(scenes.train)
    means = torch.stack([image[:, mask > 0].mean(dim=1) for image, mask in zip(images, masks, strict=True)])
    assert (means.std(dim=0) > 30).all()
    assert (masks > 0).flatten(1).sum(dim=1).float().std() > 150


def test_test_scenes_have_objects_and_parts_of_photographs_of_their_own(monkeypatch):
    # Objects of tests are invisible here, and the photographs black at the left and white at the right.
    source = digits()
    invisible = PixelArray(torch.zeros_like(source.test.images(torch.arange(len(source.test)))))
    test = dataclasses.replace(source.test, reader=invisible, rows=torch.arange(len(source.test)))
    black_and_white = torch.cat([photograph(0, 300, 450), photograph(255, 300, 150)], dim=2).permute(1, 2, 0).numpy()
    monkeypatch.setattr(
        "datamodules.sources.scenes.load_sample_images", lambda: type("Bunch", (), {"images": [black_and_white] * 2})
    )
    scenes = scenes_of("scenes", dataclasses.replace(source, test=test), 0.4, "nobody", 40, 64)
    assert (masks_of(scenes.test) == 0).all()
    assert (scenes.test.images(torch.arange(10)) == 255).all()
    masks = masks_of(scenes.train)
    assert (masks > 0).flatten(1).any(dim=1).all()
    dark = scenes.train.images(torch.arange(40)).amax(dim=1)[masks == 0]
    assert (dark == 0).float().mean() > 0.93


def test_a_scene_follows_from_its_number_alone(scenes):
    few = digit_scenes(30)
    assert torch.equal(few.train.images(torch.arange(30)), scenes.train.images(torch.arange(30)))
    assert torch.equal(masks_of(few.train), masks_of(scenes.train)[:30])
    assert few.train.ids.tolist() == scenes.train.ids[:30].tolist()
    assert few.test.ids.tolist() == scenes.test.ids[:7].tolist()
    material = Material(digits().train.images(torch.arange(9)), torch.arange(9), [photograph(3)], 0.4)
    one, other = (draw_scenes(material, torch.arange(4), 32, seed)[1] for seed in (0, 1))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("side", [16, 64, 160])
def test_backgrounds_are_pieces_of_the_photographs(side):
    ramp = torch.arange(160).expand(3, 200, 160).to(torch.uint8)
    crops = backgrounds([ramp], torch.arange(40), side)
    assert crops.shape == (40, 3, side, side)
    steps = crops[..., 1:] - crops[..., :-1]
    assert 0.9 < steps.abs().mean() < 2.1 or side == 160
    assert (steps.mean(dim=(1, 2, 3)) > 0).any()
    assert (steps.mean(dim=(1, 2, 3)) < 0).any()  # mirrored


def test_two_thousand_scenes_take_less_than_ten_seconds(scenes_and_seconds):
    assert scenes_and_seconds[1] < 10 * NUM_SCENES / 2000


@pytest.mark.parametrize("name", ["digit_scenes", "fashion_scenes"])
def test_options_change_number_and_size(name, make_source, tmp_path):
    make_source(name)
    options = {"root": tmp_path / name} if name == "fashion_scenes" else {}
    source = create_source(name, num_scenes=6, side=32, **options)
    assert source.train.images(torch.arange(6)).shape == (6, 3, 32, 32)
    assert (len(source.train), len(source.test)) == (6, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_scenes": 1}, r"data\.num_scenes: got 1, expected 2 or more training scenes"),
        ({"side": 8}, r"data\.side: got 8, expected 16 to 160 pixels"),
        ({"side": 161}, r"data\.side: got 161"),
    ],
)
def test_bad_numbers_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        create_source("digit_scenes", **options)


def test_the_fingerprint_follows_the_masks():
    first, other = (digit_scenes(num_scenes=4, side=side).fingerprint for side in (16, 24))
    assert first == digit_scenes(num_scenes=4, side=16).fingerprint
    assert first != other
