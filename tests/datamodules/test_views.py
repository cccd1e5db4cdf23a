import pytest
import torch
from torchvision.transforms import v2

from datamodules.augmentation.crop import FlipAndCrop
from datamodules.augmentation.erasing import RandomErasing
from datamodules.augmentation.per_sample import PerSampleTransform
from datamodules.augmentation.randaugment import RandAugment
from datamodules.views import POLICIES, Policy, View, create_policy

NUM = 60
IDS = torch.arange(NUM) * 7 + 3
EPOCHS = torch.arange(NUM) % 3
EVERYTHING = {
    "resized_crop_scale": 0.3,
    "rotation_degrees": 15,
    "translation": 0.1,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.4,
}


def policies():
    return [
        create_policy("weak"),
        create_policy("strong"),
        create_policy("strong", **EVERYTHING),
        Policy("own", (FlipAndCrop(), PerSampleTransform(v2.RandomPosterize(3)))),
    ]


@pytest.fixture(params=[1, 3], ids=["grey", "rgb"])
def pixels(request):
    return torch.randint(0, 256, (NUM, request.param, 20, 20), dtype=torch.uint8)


@pytest.mark.parametrize("policy", policies())
def test_a_view_is_the_same_in_every_batch(policy, pixels):
    view = View(policy, seed=5)
    torch.manual_seed(0)
    whole = view(pixels, IDS, EPOCHS)
    torch.manual_seed(1)
    order = torch.randperm(NUM)
    assert torch.equal(view(pixels[order], IDS[order], EPOCHS[order]), whole[order])
    for size in (1, 7, 32):
        parts = zip(pixels.split(size), IDS.split(size), EPOCHS.split(size), strict=True)
        assert torch.equal(torch.cat([view(*part) for part in parts]), whole)


@pytest.mark.parametrize("policy", policies())
def test_seed_epoch_and_id_each_make_another_view(policy, pixels):
    original = View(policy, seed=5)(pixels, IDS, EPOCHS)
    others = [
        View(policy, seed=6)(pixels, IDS, EPOCHS),
        View(policy, seed=5)(pixels, IDS, EPOCHS + 1),
        View(policy, seed=5)(pixels, IDS + 1, EPOCHS),
    ]
    for other in others:
        assert (other != original).flatten(1).any(dim=1).float().mean() > 0.8
    assert torch.equal(View(policy, seed=5)(pixels, IDS, EPOCHS), original)


@pytest.mark.parametrize("policy", policies())
def test_views_are_images_and_leave_everything_else_alone(policy, pixels):
    before = pixels.clone(), IDS.clone(), EPOCHS.clone()
    random_state = torch.get_rng_state()
    images = View(policy)(pixels, IDS, EPOCHS)
    assert images.dtype == torch.float32
    assert images.shape == pixels.shape
    assert images.min() >= 0
    assert images.max() <= 1
    assert all(torch.equal(*pair) for pair in zip((pixels, IDS, EPOCHS), before, strict=True))
    assert torch.equal(torch.get_rng_state(), random_state)


def test_without_operations_the_view_is_the_image_as_torchvision_has_it(pixels):
    expected = v2.functional.to_dtype(pixels, torch.float32, scale=True)
    assert torch.equal(View(create_policy("none"))(pixels, IDS, EPOCHS), expected)


def test_policies_are_made_of_what_their_names_say():
    assert create_policy("none").operations == ()
    assert create_policy("weak").operations == (FlipAndCrop(True, 4),)
    assert create_policy("strong").operations == (FlipAndCrop(True, 4), RandAugment(2, 9), RandomErasing(0.25))


def test_options_replace_the_defaults_of_a_policy():
    assert create_policy("weak", crop_padding=2, horizontal_flip=False).operations == (FlipAndCrop(False, 2),)
    assert create_policy("strong", num_ops=0, erasing_probability=0).operations == (FlipAndCrop(True, 4),)
    assert create_policy("none", num_ops=1, magnitude=3).operations == (RandAugment(1, 3),)
    assert len(create_policy("strong", **EVERYTHING).operations) == 6


def test_two_operations_of_one_policy_draw_independently(pixels):
    black = torch.full((2000, 1, 8, 8), 255, dtype=torch.uint8)
    policy = Policy("twice", (RandomErasing(0.5), RandomErasing(0.5)))
    images = View(policy)(black, torch.arange(2000), torch.zeros(2000, dtype=torch.int64))
    untouched = (images == 1).flatten(1).all(dim=1).float().mean()
    assert 0.21 < untouched < 0.29


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "week"}, "policy: got 'week', expected one of none, weak, strong"),
        ({"name": "weak", "crop_padding": -1}, r"crop_padding: got -1, expected 0 \(off\) to 1024"),
        ({"name": "weak", "crop_padding": 1.5}, "crop_padding: got 1.5, expected a whole number"),
        ({"name": "weak", "horizontal_flip": 1}, "horizontal_flip: got 1, expected true or false"),
        ({"name": "weak", "num_ops": True}, "num_ops: got True, expected a whole number"),
        ({"name": "strong", "magnitude": 31}, r"magnitude: got 31, expected 0 \(off\) to 30"),
        ({"name": "strong", "erasing_probability": 1.1}, r"erasing_probability: got 1.1, expected 0 \(off\) to 1.0"),
        ({"name": "none", "resized_crop_scale": 2}, "resized_crop_scale: got 2"),
        ({"name": "none", "brightness": float("nan")}, "brightness: got nan"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        create_policy(**options)


def test_every_option_can_be_set_and_checked():
    for option in vars(POLICIES["none"]):
        with pytest.raises(ValueError, match=f"{option}: got -1"):
            create_policy("none", **{option: -1})


def test_floats_are_refused():
    with pytest.raises(ValueError, match=r"pixels: got torch.float32, expected torch.uint8"):
        View(create_policy("none"))(torch.rand(2, 1, 4, 4), IDS[:2], EPOCHS[:2])
