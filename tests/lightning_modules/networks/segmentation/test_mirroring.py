"""Images continued beyond their edges."""

import pytest
import torch
import torch.nn.functional as F

from lightning_modules.networks.segmentation.mirroring import mirrored, next_multiple, padded_side


def test_a_line_is_mirrored_as_often_as_it_takes():
    line = torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 1, 3)
    assert mirrored(line, 4, (1, 11)).flatten().tolist() == [1, 2, 3, 2, 1, 2, 3, 2, 1, 2, 3]
    assert mirrored(line[..., :1], 2, (1, 4)).flatten().tolist() == [1, 1, 1, 1]


def test_it_is_torchs_reflection_where_that_is_possible():
    images = torch.rand(2, 3, 7, 9)
    assert torch.equal(mirrored(images, 4, (15, 20)), F.pad(images, (4, 7, 4, 4), mode="reflect"))
    assert mirrored(images, 0, (7, 9)) is images


@pytest.mark.parametrize(("side", "expected"), [(1, 32), (32, 32), (33, 64)])
def test_multiples(side, expected):
    assert next_multiple(side, 32) == expected
    assert padded_side(side, 32) == 64
    assert padded_side(side + 64, 32) == expected + 64
