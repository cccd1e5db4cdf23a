"""A sliding window says what the network says of the whole image, in bounded pieces."""

import pytest
import torch
from torch import nn

from lightning_modules.sliding_window import SlidingWindow, place_windows, predict_whole

SIZES = [(64, 64), (61, 53), (20, 9), (33, 32), (1, 40)]


def pointwise(num_classes: int = 5) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, num_classes, 1)).eval()


def local(num_classes: int = 5) -> nn.Module:
    """Return a network in which a pixel depends on those at most two away."""
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, num_classes, 3, padding=1)
    return nn.Sequential(*layers).eval()


def assert_equals_whole(network, size, flip, **options):
    image = torch.rand(3, *size)
    confidences, classes = predict_whole(network, image[None], flip)[0].max(dim=0)
    ours = SlidingWindow(network, flip=flip, **options)(image)
    assert ours[0].dtype == torch.uint8
    torch.testing.assert_close(ours[1], confidences, atol=1e-5, rtol=0)
    assert (ours[0] == classes).float().mean() > 0.999  # two classes may be equally probable up to rounding


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("window", "overlap", "batch_size"), [(32, 8, 3), (32, 0, 1), (16, 12, 8), (15, 1, 4)])
def test_equals_the_whole_image_for_networks_that_see_one_pixel(size, window, overlap, batch_size):
    assert_equals_whole(pointwise(), size, False, window=window, overlap=overlap, batch_size=batch_size)


@pytest.mark.parametrize("size", SIZES)
def test_equals_the_whole_image_where_a_quarter_of_the_overlap_is_as_wide_as_the_field_of_view(size):
    assert_equals_whole(local(), size, True, window=32, overlap=8)


def test_windows_one_pixel_apart_are_blended_too():
    assert_equals_whole(local(), (23, 24), False, window=20, overlap=19)


def test_windows_without_overlap_see_their_padding():
    network, image = local(), torch.rand(3, 64, 64)
    _, confidences = SlidingWindow(network, window=32, overlap=0)(image)
    expected = predict_whole(network, image[None])[0].amax(dim=0)
    differ = (confidences - expected).abs() > 1e-5
    assert differ[30:34].any()
    assert not differ[:30, :30].any()


@pytest.mark.parametrize("length", [1, 5, 16, 17, 40, 101])
@pytest.mark.parametrize(("window", "overlap"), [(16, 0), (16, 1), (16, 4), (16, 15), (5, 2)])
def test_windows_cover_every_pixel_once_in_all(length, window, overlap):
    starts, weights = place_windows(length, window, overlap)
    total = torch.zeros(length)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + len(weight)] += weight
    torch.testing.assert_close(total, torch.ones(length))
    assert weights.min() >= 0
    assert starts[-1] + len(weights[-1]) == length


def test_borders_count_less_than_the_middle_but_for_those_of_the_image():
    _, weights = place_windows(24, 16, 8)
    first = [1.0] * 10 + [0.875, 0.625, 0.375, 0.125] + [0.0] * 2
    torch.testing.assert_close(weights, torch.tensor([first, first[::-1]]))


def test_pixels_are_unit_intervals_and_the_mirror_image_is_averaged():
    network = nn.Conv2d(3, 4, (1, 3), padding=(0, 1)).eval()
    pixels = torch.randint(0, 256, (3, 20, 20), dtype=torch.uint8)
    images = pixels[None] / 255
    expected = (network(images).softmax(1) + network(images.flip(3)).softmax(1).flip(3)) / 2
    torch.testing.assert_close(predict_whole(network, images, flip=True), expected.detach())
    torch.testing.assert_close(SlidingWindow(network, window=20, flip=True, overlap=0)(pixels)[1], expected.amax(1)[0])
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(1200, 4))
    expected = (classifier(images).softmax(1) + classifier(images.flip(3)).softmax(1)) / 2
    torch.testing.assert_close(predict_whole(classifier, images, flip=True), expected.detach())


def test_bands_come_as_soon_as_they_are_known():
    shapes = []

    class Recorder(nn.Module):
        def forward(self, images):
            shapes.append(tuple(images.shape))
            return images

    bands = SlidingWindow(Recorder(), window=16, overlap=4, batch_size=2).bands(torch.rand(3, 64, 40))
    top, classes, confidences = next(bands)
    assert (top, classes.shape, confidences.shape) == (0, (12, 40), (12, 40))
    assert shapes == [(2, 3, 16, 16), (1, 3, 16, 16)]
    assert [top for top, *_ in bands] == [12, 24, 36, 48]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window: got 0"),
        ({"window": 64, "overlap": 64}, "overlap: got 64, expected pixels in 0..63"),
        ({"overlap": -1}, "overlap: got -1"),
        ({"batch_size": 0}, "batch_size: got 0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SlidingWindow(pointwise(), **options)
