import math

import pytest
import torch

from datamodules.augmentation.keys import (
    fold_in,
    mix,
    mix_integer,
    mix_sample,
    random_integers,
    sample_keys,
    split,
    uniform,
)

NUM = 4096
IDS = torch.arange(NUM)
ZEROS = torch.zeros_like(IDS)


def reference_mix(bits: int) -> int:
    """SplitMix64's finaliser in Python's unbounded integers."""
    mask = 2**64 - 1
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 & mask
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB & mask
    return bits ^ (bits >> 31)


def test_integers_are_mixed_as_splitmix64_published_them():
    assert mix_integer(0) % 2**64 == 0xE220A8397B1DCDAF
    assert mix_integer(0x9E3779B97F4A7C15) % 2**64 == 0x6E789E6AA1B965F4


def test_words_of_every_sign_are_mixed_without_sign_extension():
    words = torch.tensor([0, 1, -1, 2**63 - 1, -(2**63), 123456789123456789, -987654321])
    expected = [reference_mix(word % 2**64) for word in words.tolist()]
    assert [word % 2**64 for word in mix(words).tolist()] == expected


def test_keys_are_frozen():
    keys = sample_keys(7, torch.tensor([0, 1, 0, 5]), torch.tensor([0, 0, 1, 123456]))
    assert keys.tolist() == [8409816773569330625, 1346757289671730881, -5137267319001854395, 3386517936260496221]
    assert fold_in(keys, 3).tolist() == [
        325259727074275801,
        3065965409911683513,
        748513718721193661,
        7316760968933693182,
    ]
    assert random_integers(keys, 0, 1000).tolist() == [455, 73, 721, 183]


def test_torch_and_numpy_arithmetic_agree():
    epochs = torch.randint(0, 1000, (NUM,))
    ids = torch.randint(-(2**62), 2**62, (NUM,))
    torch.testing.assert_close(mix_sample(11, epochs, ids), sample_keys(11, epochs, ids), rtol=0, atol=0)


def test_keys_do_not_depend_on_the_batch():
    order = torch.randperm(NUM)
    keys = sample_keys(1, IDS // 7, IDS)
    assert torch.equal(sample_keys(1, IDS[order] // 7, IDS[order]), keys[order])
    assert torch.equal(torch.cat([sample_keys(1, part // 7, part) for part in IDS.split(13)]), keys)


def streams() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    keys = sample_keys(0, ZEROS, IDS)
    return {
        "ids": (keys, sample_keys(0, ZEROS, IDS + 1)),
        "epochs": (keys, sample_keys(0, ZEROS + 1, IDS)),
        "seeds": (keys, sample_keys(1, ZEROS, IDS)),
        "streams": (fold_in(keys, 0), fold_in(keys, 1)),
        "folded": (keys, fold_in(keys, 0)),
        "order of folding": (fold_in(fold_in(keys, 0), 1), fold_in(fold_in(keys, 1), 0)),
    }


@pytest.mark.parametrize("name", streams())
def test_neighbours_are_independent(name):
    one, other = streams()[name]
    flipped = (one ^ other).unsqueeze(1).bitwise_right_shift(torch.arange(64)).bitwise_and_(1).float().mean(dim=0)
    assert (flipped - 0.5).abs().max() < 5 * 0.5 / math.sqrt(NUM)
    pair = torch.stack([uniform(one), uniform(other)])
    assert torch.corrcoef(pair)[0, 1].abs() < 5 / math.sqrt(NUM)


def test_no_two_keys_are_the_same():
    grid = torch.cartesian_prod(torch.arange(64), torch.arange(512))
    keys = [sample_keys(seed, grid[:, 0], grid[:, 1]) for seed in range(4)]
    everything = torch.cat([*keys, *(fold_in(keys[0], data) for data in range(-3, 4))])
    assert len(everything.unique()) == len(everything)


def test_numbers_are_uniform():
    numbers = uniform(sample_keys(3, IDS, ZEROS))
    assert numbers.dtype == torch.float32
    counts = torch.histc(numbers, bins=64, min=0, max=1)
    chi_square = ((counts - NUM / 64) ** 2 / (NUM / 64)).sum()
    assert 63 - 4 * math.sqrt(2 * 63) < chi_square < 63 + 4 * math.sqrt(2 * 63)


def test_integers_are_uniform_and_follow_the_range_of_each_sample():
    keys = sample_keys(3, ZEROS, IDS)
    counts = random_integers(keys, -2, 5).add(2).bincount(minlength=7)
    assert len(counts) == 7
    assert ((counts - NUM / 7) ** 2 / (NUM / 7)).sum() < 6 + 4 * math.sqrt(12)
    highs = 1 + IDS % 9
    integers = random_integers(keys, 0, highs)
    assert (integers >= 0).all()
    assert (integers < highs).all()
    assert (integers == highs - 1).any()


def test_the_upper_bound_is_never_reached():
    largest = torch.tensor([-1, 2**63 - 1])  # all high bits set, and all but the sign
    assert (uniform(largest, 1.0, 2.0) < 2).all()
    assert (uniform(largest, -0.1, 0.1) < 0.1).all()
    assert uniform(largest, 1.5, 1.5).tolist() == [1.5, 1.5]
    assert random_integers(largest, 0, 10).tolist() == [9, 4]


def test_split_gives_independent_columns():
    keys = split(sample_keys(0, ZEROS, IDS), 3)
    assert keys.shape == (NUM, 3)
    correlations = torch.corrcoef(uniform(keys).T) - torch.eye(3)
    assert correlations.abs().max() < 5 / math.sqrt(NUM)
