"""Masks as files, and pictures of them."""

import numpy as np
import pytest
from PIL import Image

from datamodules import mask_files as masks
from experiments.mask_plots import MaskedImage, draw_ious, draw_masks, errors, iou_figure, mask_figure, overlay


@pytest.fixture
def classes():
    values = np.arange(30 * 40, dtype=np.uint16).reshape(30, 40) % 21
    values[:5] = 255
    return values.astype(np.uint8)


def test_the_palette_is_that_of_pascal_voc():
    colors = masks.palette()
    assert colors[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert colors[[15, 20, 255]].tolist() == [[192, 128, 128], [0, 64, 128], [224, 224, 192]]
    assert len(np.unique(colors, axis=0)) == 256


def test_masks_come_back_and_are_indexed(tmp_path, classes):
    path = tmp_path / "mask.png"
    masks.write_mask(path, classes)
    assert np.array_equal(masks.read_mask(path, 21), classes)
    with Image.open(path) as image:
        assert image.mode == "P"
        assert np.array_equal(np.asarray(image.convert("RGB")), masks.palette()[classes])
    assert list(tmp_path.iterdir()) == [path]


def test_an_earlier_file_stays_whole_where_writing_fails(tmp_path, classes, monkeypatch):
    path = tmp_path / "mask.png"
    masks.write_mask(path, classes)
    monkeypatch.setattr(masks.os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        masks.write_mask(path, classes[::-1])
    assert np.array_equal(masks.read_mask(path, 21), classes)
    assert list(tmp_path.iterdir()) == [path]


def test_confidences_come_back_to_a_255th(tmp_path):
    path = tmp_path / "confidence.png"
    values = np.linspace(0, 1, 500, dtype=np.float32).reshape(20, 25)
    masks.write_confidences(path, values)
    read = masks.read_confidences(path)
    assert read.dtype == np.float32
    assert np.abs(read - values).max() <= 0.5 / 255 + 1e-6
    assert read.flat[0] == 0
    assert read.flat[-1] == 1
    with Image.open(path) as image:
        assert image.mode == "L"
    assert np.array_equal(masks.read_confidence_levels(path), np.rint(values * 255))
    masks.write_confidences(path, values.astype(np.float16))
    assert np.abs(masks.read_confidences(path) - values).max() < 1 / 255


def test_other_images_are_no_confidences(tmp_path, classes):
    path = tmp_path / "confidence.png"
    masks.write_mask(path, classes)
    with pytest.raises(ValueError, match=r"confidence\.png: confidences of Pillow's mode P, expected a grey PNG"):
        masks.read_confidences(path)


def test_jpeg_masks_are_refused_whatever_their_name(tmp_path, classes):
    path = tmp_path / "mask.png"
    Image.fromarray(classes).save(path, format="JPEG")
    with pytest.raises(ValueError, match=r"mask\.png.*JPEG"):
        masks.read_mask(path, 21)


def test_damaged_masks_and_other_values_are_refused(tmp_path, classes):
    path = tmp_path / "mask.png"
    masks.write_mask(path, classes)
    with pytest.raises(ValueError, match=r"mask\.png.*20"):
        masks.read_mask(path, 20)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"mask\.png"):
        masks.read_mask(path, 21)


def test_overlays_tint_classes_outline_them_and_leave_the_background():
    pixels = np.full((300, 300, 3), 100, np.uint8)
    mask = np.zeros((300, 300), np.uint8)
    mask[:, 100:], mask[:, 200:] = 1, 255
    picture = overlay(pixels, mask, background=0)
    assert picture[150, 50].tolist() == [100, 100, 100]
    assert picture[150, 150].tolist() == [115, 45, 45]  # 100 + 0.55 * (128 - 100), 100 - 0.55 * 100
    assert picture[150, 99:101].min() == 255
    assert set(picture[:, 210:].flatten().tolist()) == {96, 160}
    assert overlay(pixels, mask)[150, 50].tolist() == [45, 45, 45]
    assert overlay(pixels[:8, :8, 0], mask[:8, :8]).shape == (256, 256, 3)
    assert max(overlay(pixels.repeat(10, axis=0), mask.repeat(10, axis=0)).shape) <= 1200


def test_errors_are_red_where_the_truth_is_known():
    pixels, true = np.full((256, 300), 200, np.uint8), np.zeros((256, 300), np.uint8)
    true[:, 200:] = 255
    predicted = np.ones_like(true)
    predicted[:, :100] = 0
    picture = errors(pixels, predicted, true)
    assert picture[0, [50, 250]].tolist() == [[100, 100, 100]] * 2
    assert picture[0, 150, 0] > 150 > picture[0, 150, 1]


def test_pictures_name_the_classes_they_show(tmp_path, classes):
    names = ["background", *(f"class {label}" for label in range(1, 21))]
    pixels = np.zeros((30, 40), np.uint8)
    images = [
        MaskedImage(pixels, classes.clip(max=20) // 7, classes, "first"),
        MaskedImage(pixels, classes.clip(max=1)),
    ]
    figure = mask_figure(images, names)
    titles = [axis.get_title() for axis in figure.axes if axis.get_visible()]
    assert titles == ["first", "truth", "prediction", "errors (red)", "image", "prediction"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [*names[1:], "unknown"]
    draw_masks(tmp_path / "masks.png", images, names)
    ious = [0.5, float("nan"), *[1.0] * 19]
    (axis,) = iou_figure(ious, names).axes
    assert [text.get_text() for text in axis.texts][:3] == ["50.0", "does not occur", "100.0"]
    assert len(iou_figure([0.1] * 100, ["x"] * 100).axes) == 3
    draw_ious(tmp_path / "ious.png", ious, names)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.iterdir())


def test_names_with_dollar_signs_are_no_formulas(tmp_path):
    mask = np.ones((8, 8), np.uint8)
    draw_masks(tmp_path / "masks.png", [MaskedImage(mask, mask, title="a$^$b.jpg")], ["background", "$^$"])
    draw_ious(tmp_path / "ious.png", [0.5, 0.5], ["background", "$^$"])
    assert len(list(tmp_path.iterdir())) == 2


def test_long_titles_are_cut_where_the_panel_ends():
    image = np.zeros((256, 256), np.uint8)
    titles = [
        mask_figure([MaskedImage(image, image, title="x" * 99)] * number, ["a"]).axes[0].get_title()
        for number in (1, 2)
    ]
    assert [len(title) for title in titles] == [50, 32]  # four inches, and 2.6


def test_a_single_image_is_shown_with_all_its_pixels_and_no_shape_is_too_long():
    wide, tall = np.zeros((600, 1100), np.uint8), np.zeros((9000, 30), np.uint8)
    assert mask_figure([MaskedImage(wide, wide)], ["background"]).get_size_inches()[0] * 110 >= 2 * 1100
    for long in (tall, tall.T):
        figure = mask_figure([MaskedImage(long, long)], ["background"])
        assert (figure.get_size_inches() * 110 < 4000).all()
        assert (figure.get_size_inches() > 1).all()


def test_colours_are_those_of_the_legend_whatever_those_of_the_image():
    red, blue = np.zeros((2, 300, 300, 3), np.uint8)
    red[..., 0], blue[..., 2] = 90, 90
    mask = np.ones((300, 300), np.uint8)
    assert np.array_equal(overlay(red, mask, background=0), overlay(blue, mask, background=0))
