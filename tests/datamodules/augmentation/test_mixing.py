import pytest
import torch
from scipy import stats
from torchvision.transforms.v2 import CutMix as TorchvisionCutMix

from datamodules.augmentation.keys import sample_keys
from datamodules.augmentation.mixing import CutMix, MixUp, beta_quantiles, mix_up, mixing_boxes, partners, soft_targets

NUM = 64


def keys_of(num):
    return sample_keys(0, torch.zeros(num, dtype=torch.int64), torch.arange(num))


@pytest.fixture
def images():
    return torch.rand(NUM, 3, 8, 10)


@pytest.fixture
def targets():
    return torch.randint(0, 5, (NUM,))


def test_partners_are_neighbours_and_an_odd_one_stays_alone():
    assert partners(torch.arange(5)).tolist() == [1, 0, 3, 2, 4]


def test_mixtures_are_weighted_sums():
    images = torch.rand(2, 1, 2, 2)
    mixed = mix_up(images, torch.tensor([0.7, 0.7]))
    torch.testing.assert_close(mixed[0], 0.7 * images[0] + 0.3 * images[1])
    torch.testing.assert_close(mixed[1], 0.7 * images[1] + 0.3 * images[0])


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_distributed_as_beta(alpha):
    shares = beta_quantiles((torch.arange(20_000) + 0.5) / 20_000, alpha)
    expected = torch.from_numpy(stats.beta(alpha, alpha).ppf((torch.arange(20_000).numpy() + 0.5) / 20_000))
    assert (shares - expected).abs().max() < 0.03  # in the outermost of the table's steps
    assert (shares - expected).abs().mean() < 1e-4


@pytest.mark.parametrize("operation", [MixUp(5, 0.4), CutMix(5)])
def test_images_and_targets_are_mixed_in_the_same_shares(operation, images, targets):
    # Images that are constant show their share of the mixture in their mean.
    constant = torch.arange(NUM).view(-1, 1, 1, 1).expand(-1, 1, 8, 10).float()
    mixed, soft = operation(constant, torch.arange(NUM) % 2, keys_of(NUM))
    torch.testing.assert_close(soft.sum(dim=1), torch.ones(NUM))
    own = (mixed.mean(dim=(1, 2, 3)) - partners(torch.arange(NUM))) / (torch.arange(NUM) - partners(torch.arange(NUM)))
    torch.testing.assert_close(soft[torch.arange(NUM), torch.arange(NUM) % 2], own, rtol=1e-4, atol=1e-4)
    assert own.std() > 0.1


@pytest.mark.parametrize("operation", [MixUp(5), CutMix(5)])
def test_even_slices_of_a_batch_give_the_same_mixtures(operation, images, targets):
    keys = keys_of(NUM)
    whole = operation(images, targets, keys)
    parts = [operation(*part) for part in zip(images.split(16), targets.split(16), keys.split(16), strict=True)]
    assert torch.equal(whole[0], torch.cat([part[0] for part in parts]))
    assert torch.equal(whole[1], torch.cat([part[1] for part in parts]))


@pytest.mark.parametrize("operation", [MixUp(5), CutMix(5)])
def test_a_sample_without_partner_is_not_mixed(operation, images, targets):
    mixed, soft = operation(images[:3], targets[:3], keys_of(3))
    torch.testing.assert_close(mixed[2], images[2])
    torch.testing.assert_close(soft[2], soft_targets(targets[:3], 5)[2])


def test_boxes_are_distributed_as_those_of_torchvision():
    num, height, width = 4000, 20, 30
    torch.manual_seed(0)
    peer, image = TorchvisionCutMix(num_classes=2), torch.zeros(1, 1, height, width)
    boxes = torch.tensor([peer.make_params([image])["box"] for _ in range(num)]).float()
    x1, y1, x2, y2 = boxes.unbind(1)
    theirs = torch.stack([y1, x1, y2 - y1, x2 - x1], dim=1)
    ours = mixing_boxes(keys_of(num), height, width, 1.0).float()
    error = theirs.std(dim=0) * (2 / num) ** 0.5
    assert ((ours.mean(dim=0) - theirs.mean(dim=0)).abs() < 5 * error).all()
    assert ((ours.std(dim=0) / theirs.std(dim=0) - 1).abs() < 0.1).all()


def test_unlabelled_samples_give_no_probability_and_soft_targets_pass():
    assert soft_targets(torch.tensor([2, -1]), 3).tolist() == [[0, 0, 1], [0, 0, 0]]
    assert soft_targets(torch.tensor([[0.25, 0.75]]), 2).tolist() == [[0.25, 0.75]]
