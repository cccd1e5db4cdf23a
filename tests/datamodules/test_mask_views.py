import pytest
import torch

from datamodules.augmentation.color import ColorJitter
from datamodules.augmentation.crop import FlipAndCrop
from datamodules.augmentation.geometry import RandomAffine
from datamodules.augmentation.scaling import RandomScale
from datamodules.batch import PixelBatch, make_batch
from datamodules.mask_views import MaskView, create_mask_policy
from datamodules.views import View, create_policy

NUM, SIZE = 40, 24
IDS, EPOCHS = torch.arange(NUM) * 5 + 2, torch.arange(NUM) % 3
EVERYTHING = {"crop_padding": 3, "rotation_degrees": 20}


@pytest.fixture
def masks():
    return torch.randint(0, 12, (NUM, SIZE, SIZE), dtype=torch.uint8)


def images_of(masks):
    """White where the class is even, so that colour changes cannot hide a pixel in the padding."""
    return torch.where(masks % 2 == 0, 255, 120).to(torch.uint8).unsqueeze(1).expand(-1, 3, -1, -1).contiguous()


@pytest.mark.parametrize("name", ["weak", "strong"])
def test_padding_is_black_and_ignored_and_nothing_else_is(name, masks):
    view = MaskView(create_mask_policy(name, brightness=0.3, **EVERYTHING), seed=1)
    images, moved = view(images_of(masks), IDS, EPOCHS), view.masks(masks, IDS, EPOCHS)
    assert images.shape[2:] == moved.shape[1:] == (SIZE, SIZE)
    assert torch.equal((images == 0).all(dim=1), moved == 255)
    assert 0.05 < (moved == 255).float().mean() < 0.7


def test_views_of_masks_are_the_same_in_every_batch_and_others_by_seed_and_epoch(masks):
    view = MaskView(create_mask_policy("strong", **EVERYTHING), seed=4)
    whole = view.masks(masks, IDS, EPOCHS)
    order = torch.randperm(NUM)
    assert torch.equal(view.masks(masks[order], IDS[order], EPOCHS[order]), whole[order])
    assert not torch.equal(view.masks(masks, IDS, EPOCHS + 1), whole)
    assert not torch.equal(MaskView(view.policy, seed=5).masks(masks, IDS, EPOCHS), whole)


def test_identity_parameters_change_nothing(masks):
    policy = create_mask_policy(
        "strong", horizontal_flip=False, scale=(1, 1), crop_padding=0, brightness=0, contrast=0, saturation=0
    )
    assert policy.operations == create_mask_policy("none").operations == ()
    view = MaskView(policy)
    assert torch.equal(view.masks(masks, IDS, EPOCHS), masks)
    assert torch.equal((view(images_of(masks), IDS, EPOCHS) * 255).round().byte(), images_of(masks))


def test_policies_are_made_of_what_their_names_say():
    assert create_mask_policy("weak").operations == (RandomScale((0.5, 2.0)), FlipAndCrop(True, 0))
    assert create_mask_policy("strong").operations[0] == ColorJitter(0.4, 0.4, 0.4)
    assert create_mask_policy("none", crop_size=16).operations == (RandomScale((1.0, 1.0), (16, 16)),)
    operations = create_mask_policy("none", **EVERYTHING).operations
    assert operations == (FlipAndCrop(False, 3), RandomAffine(20))
    assert create_mask_policy("none", scale=[0.8, 1.2]).operations == (RandomScale((0.8, 1.2)),)


def test_a_crop_is_smaller_in_image_and_mask(masks):
    view = MaskView(create_mask_policy("weak", crop_size=10))
    assert view(images_of(masks), IDS, EPOCHS).shape == (NUM, 3, 10, 10)
    assert view.masks(masks, IDS, EPOCHS).shape == (NUM, 10, 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "week"}, "policy: got 'week', expected one of none, weak, strong"),
        ({"name": "weak", "scale": (2.0, 0.5)}, r"scale: got \(2.0, 0.5\), expected two ascending factors"),
        ({"name": "weak", "scale": (0.0, 1.0)}, r"scale: got \(0.0, 1.0\)"),
        ({"name": "weak", "crop_size": 0}, "crop_size: got 0, expected 1 or more pixels"),
        ({"name": "weak", "crop_padding": -1}, "crop_padding: got -1"),
        ({"name": "weak", "saturation": 11}, "saturation: got 11"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        create_mask_policy(**options)


def test_a_view_of_images_alone_is_refused(masks):
    batch = PixelBatch(images_of(masks), masks, IDS, EPOCHS)
    with pytest.raises(
        ValueError, match=r"view: got a View, which would .* leave their masks behind; expected a MaskV"
    ):
        make_batch(batch, View(create_policy("weak")))


def test_modules_get_int64_masks(masks):
    view = MaskView(create_mask_policy("weak"))
    training = make_batch(PixelBatch(images_of(masks), masks, IDS, EPOCHS), view)
    assert training.targets.dtype == torch.int64
    assert torch.equal(training.targets, view.masks(masks, IDS, EPOCHS).long())
    evaluation = make_batch(PixelBatch(images_of(masks), masks, IDS, None), view)
    assert torch.equal(evaluation.targets, masks.long())
