"""Files of every kind a folder may hold, and every kind it should not."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from datamodules.sources.decoding import BadImageError, open_image

from .layouts import random_pixels, write_photograph

UNLIMITED = 10**9


def decode(path, max_pixels=UNLIMITED):
    encoded = open_image(path, max_pixels)
    return encoded.decode(encoded.whole)[:3]


def picture(mode, size=(20, 12)):
    return Image.fromarray(random_pixels(1, size[1], size[0], 3)).convert(mode)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        ("RGB", "jpg"),
        ("L", "jpg"),
        ("CMYK", "jpg"),
        ("RGB", "png"),
        ("L", "png"),
        ("P", "png"),
        ("1", "png"),
        ("RGB", "webp"),
    ],
)
def test_every_mode_becomes_rgb(mode, suffix, tmp_path):
    path = tmp_path / f"image.{suffix}"
    picture(mode).save(path)
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"))
    pixels = decode(path)
    assert pixels.dtype == torch.uint8
    assert np.array_equal(pixels.permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize(("mode", "suffix"), [("RGBA", "png"), ("RGBA", "webp"), ("LA", "png"), ("PA", "png")])
def test_transparency_shows_white(mode, suffix, tmp_path):
    image = Image.new("RGBA", (8, 8), (200, 30, 40, 255))
    image.paste((0, 0, 0, 0), (0, 0, 4, 8))
    path = tmp_path / f"image.{suffix}"
    (image.quantize() if mode == "PA" else image.convert(mode)).save(path, lossless=True)
    pixels = decode(path)
    assert (pixels[:, :, :4] == 255).all()
    assert (pixels[:, :, 4:] < 255).any(0).all()


def test_half_transparency_is_half_white(tmp_path):
    Image.new("RGBA", (4, 4), (100, 0, 200, 128)).save(tmp_path / "image.png")
    colour = decode(tmp_path / "image.png")[:, 0, 0].tolist()
    assert colour == pytest.approx([177, 127, 227], abs=1)


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path):
    values = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "image.png")
    assert decode(tmp_path / "image.png").tolist() == [[[0, 100, 255]]] * 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "image.jpg"
    picture("RGB").save(path, exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    encoded = open_image(path, UNLIMITED)
    assert (encoded.height, encoded.width) == expected.shape[:2]
    assert np.array_equal(decode(path).permute(1, 2, 0).numpy(), expected)


def test_an_unknown_orientation_counts_as_none(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 9
    picture("RGB").save(tmp_path / "image.jpg", exif=exif)
    assert open_image(tmp_path / "image.jpg", UNLIMITED).orientation == 1


def test_a_large_jpeg_is_shrunk_while_decoded(tmp_path):
    path = write_photograph(tmp_path / "image.jpg", width=400, height=320)
    encoded = open_image(path, UNLIMITED)
    shrunk = encoded.decode(encoded.whole, 80)[:3]
    assert shrunk.shape == (3, 80, 100)
    with Image.open(path) as image:
        reference = np.asarray(image.resize((100, 80), Image.Resampling.BOX), dtype=np.int64)
    assert np.abs(shrunk.permute(1, 2, 0).numpy() - reference).mean() < 1.5


def test_a_crop_is_part_of_the_whole(tmp_path):
    path = write_photograph(tmp_path / "image.jpg")
    crop = open_image(path, UNLIMITED).whole._replace(top=5, left=7, height=11, width=13)
    assert torch.equal(open_image(path, UNLIMITED).decode(crop)[:3], decode(path)[:, 5:16, 7:20])


def truncated(suffix):
    data = io.BytesIO()
    Image.fromarray(random_pixels(0, 64, 64, 3)).save(data, {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[suffix])
    return data.getvalue()[: len(data.getvalue()) * 2 // 3]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_a_truncated_file_is_named(suffix, tmp_path):
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(truncated(suffix))
    with pytest.raises(BadImageError, match=rf"cut.{suffix}: cannot be read as an image .*--data.on_bad_image skip"):
        decode(path)


def test_pillows_own_check_misses_the_truncated_jpeg(tmp_path):
    (tmp_path / "cut.jpg").write_bytes(truncated("jpg"))
    Image.open(tmp_path / "cut.jpg").verify()


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"\xff\xd8\xff", b"GIF89a" + bytes(40)])
def test_a_file_that_is_no_image_is_named(content, tmp_path):
    (tmp_path / "none.jpg").write_bytes(content)
    with pytest.raises(
        BadImageError, match=r"none.jpg: cannot be read as an image .*expected a whole JPEG, PNG or WebP"
    ):
        decode(tmp_path / "none.jpg")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadImageError, match=r"gone.jpg: cannot be read as an image \(FileNotFoundError"):
        decode(tmp_path / "gone.jpg")


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    picture("RGB", (300, 200)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(BadImageError, match=r"bomb.png: 300x200 pixels are more than --data.max_pixels 59999; raise"):
        open_image(tmp_path / "bomb.png", 59_999)


def test_pillows_limit_gives_way_to_ours_and_comes_back(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    picture("RGB").save(tmp_path / "image.png")
    assert decode(tmp_path / "image.png", max_pixels=240).shape == (3, 12, 20)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_an_image_that_pillow_keeps_in_pieces(tmp_path):
    write_photograph(tmp_path / "image.png", width=2400, height=2000)
    with Image.open(tmp_path / "image.png") as image:
        assert np.array_equal(decode(tmp_path / "image.png").permute(1, 2, 0).numpy(), np.asarray(image))
