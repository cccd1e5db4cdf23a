import pytest
import torch

from datamodules.augmentation.color import ColorJitter
from datamodules.augmentation.crop import FlipAndCrop
from datamodules.augmentation.geometry import RandomAffine
from datamodules.augmentation.joint import CutMixMasks, move_masks
from datamodules.augmentation.keys import sample_keys
from datamodules.augmentation.randaugment import RandAugment
from datamodules.augmentation.scaling import RandomScale

NUM, SIZE = 64, 20
GEOMETRIC = {
    "flip": FlipAndCrop(True, 0),
    "padded crop": FlipAndCrop(True, 4),
    "scale": RandomScale(interpolation="nearest"),
    "crop": RandomScale((0.7, 1.5), (12, 15), "nearest"),
    "rotation": RandomAffine(degrees=40),
    "shift": RandomAffine(translate=0.3),
}
geometric = pytest.mark.parametrize("operation", GEOMETRIC.values(), ids=GEOMETRIC)


def keys_of(num):
    return sample_keys(0, torch.zeros(num, dtype=torch.int64), torch.arange(num))


@pytest.fixture
def masks():
    return torch.randint(1, 22, (NUM, SIZE, SIZE), dtype=torch.uint8)


@geometric
def test_an_image_that_equals_its_mask_stays_equal_and_padding_is_ignored(operation, masks):
    images = operation(masks.unsqueeze(1), keys_of(NUM)).squeeze(1)
    moved = move_masks(operation, masks, keys_of(NUM))
    assert moved.dtype == torch.uint8
    assert torch.equal(moved == 255, images == 0)  # no class is 0 here: zeros are padding
    assert torch.equal(moved.masked_fill(moved == 255, 0), images)
    assert not torch.equal(moved, masks)


@geometric
def test_what_was_ignored_stays_ignored(operation):
    masks = torch.full((8, SIZE, SIZE), 255, dtype=torch.uint8)
    assert (move_masks(operation, masks, keys_of(8)) == 255).all()


def test_smooth_scaling_keeps_edges_where_those_of_the_mask_are():
    # Edges along one side alone: of a bilinear ramp, the pixels above the half are those nearest to the bright side.
    masks = (torch.arange(SIZE) >= SIZE // 2).to(torch.uint8).expand(NUM, SIZE, SIZE).contiguous()
    operation = RandomScale()
    images = operation(masks.unsqueeze(1) * 254, keys_of(NUM)).squeeze(1)
    moved = move_masks(operation, masks, keys_of(NUM))
    known = moved != 255
    assert torch.equal(images[known & (moved == 1)] >= 127, torch.ones_like(images[moved == 1], dtype=torch.bool))
    assert (images[known & (moved == 0)] <= 127).all()
    assert (images[~known] == 0).all()
    assert (~known).any()


def test_colours_leave_masks_alone(masks):
    assert torch.equal(move_masks(ColorJitter(0.5, 0.5, 0.5), masks, keys_of(NUM)), masks)


def test_an_operation_without_a_counterpart_is_refused(masks):
    with pytest.raises(ValueError, match=r"policy: got the operation RandAugment\(.*no counterpart for masks"):
        move_masks(RandAugment(), masks, keys_of(NUM))


def test_cutmix_takes_image_and_mask_from_the_same_partner(masks):
    images = masks.unsqueeze(1).float()
    mixed, targets = CutMixMasks()(images, masks, keys_of(NUM))
    assert torch.equal(mixed.squeeze(1).byte(), targets)
    partners = masks.view(-1, 2, SIZE, SIZE).flip(1).flatten(0, 1)
    assert ((targets == masks) | (targets == partners)).all()
    assert 0.2 < (targets != masks).float().mean() < 0.6
    halves = [
        CutMixMasks()(*part) for part in zip(images.split(32), masks.split(32), keys_of(NUM).split(32), strict=True)
    ]
    assert torch.equal(torch.cat([half[1] for half in halves]), targets)


def test_cutmix_of_masks_refuses_classes():
    with pytest.raises(ValueError, match=r"cutmix: got targets \(4,\), expected masks \(N, H, W\)"):
        CutMixMasks()(torch.rand(4, 3, 8, 8), torch.arange(4), keys_of(4))
