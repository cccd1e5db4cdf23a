"""The report on a split with masks, from a network whose mistakes are known."""

import json
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

import experiments.mask_report as mask_report
from datamodules.sources.paths import PathList
from datamodules.sources.source import MaskArray, PixelArray, Samples
from experiments.mask_report import image_ious, report_masks
from lightning_modules.segmentation_metrics import SegmentationMetrics

NAMES = ["background", "cat", "dog", "horse"]
SIZE = 16


class Reader(nn.Module):
    """Sees class ``k`` where a pixel is ``50 k``."""

    def forward(self, images):
        levels = torch.arange(4).view(1, 4, 1, 1) * 50 / 255
        return -(images[:, :1] - levels).abs()


@pytest.fixture
def samples():
    """Return ten images of the classes 0 to 2, of which image ``i`` has ``i`` wrong rows; the last is all unknown."""
    masks = torch.randint(0, 3, (10, SIZE, SIZE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    masks[:, 0] = 2  # so that the predicted classes of the rows below are never the last
    seen = masks.clone()
    for number in range(10):
        seen[number, 1 : 1 + number] = (masks[number, 1 : 1 + number] + 1) % 3
    masks[9] = 255
    pixels = (50 * seen).unsqueeze(1).expand(-1, 3, -1, -1).contiguous()
    rows = torch.arange(10)
    return Samples(PixelArray(pixels), rows, 100 + rows, torch.zeros(10, dtype=torch.int64), masks=MaskArray(masks))


@pytest.fixture
def drawn(monkeypatch):
    """Keep what is drawn, by the pictures' names."""
    pictures = {}
    monkeypatch.setattr(mask_report, "draw_masks", lambda path, images, names: pictures.update({path.name: images}))
    return pictures


def report(samples, directory, **options):
    return report_masks(Reader(), samples, NAMES, directory, torch.device("cpu"), **options)


def test_the_numbers_are_those_of_the_metrics(tmp_path, samples):
    found = report(samples, tmp_path, num_examples=2, batch_size=4)
    metrics = SegmentationMetrics(4)
    images = samples.images(torch.arange(10)) / 255
    metrics.update(Reader()(images), samples.read_targets(torch.arange(10)))
    assert found["mean_iou"] == pytest.approx(float(metrics.compute()["mean_iou"]))
    ious = metrics.class_ious().tolist()
    assert [found["class_iou"][name] for name in NAMES[:3]] == pytest.approx(ious[:3])
    assert found["class_iou"]["horse"] is None
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert {path.name for path in tmp_path.iterdir()} == {"overlays.png", "class_iou.png", "worst.png"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.iterdir())


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_worst_are_found_and_shown_with_their_iou(tmp_path, samples, drawn, batch_size):
    worst = report(samples, tmp_path, num_examples=3, batch_size=batch_size)["worst"]
    assert [image["id"] for image in worst] == [108, 107, 106]
    metrics = SegmentationMetrics(4)
    last = torch.tensor([8])
    metrics.update(Reader()(samples.images(last) / 255), samples.read_targets(last))
    assert worst[0] == {"id": 108, "path": None, "mean_iou": pytest.approx(float(metrics.compute()["mean_iou"]))}
    assert drawn["worst.png"][0].title == f"IoU {100 * worst[0]['mean_iou']:.1f} %: id 108"
    assert torch.equal(torch.from_numpy(drawn["worst.png"][0].true), samples.read_targets(last)[0])
    assert [image.title for image in drawn["overlays.png"]] == ["id 100", "id 104", "id 109"]


def test_files_are_called_by_their_names(tmp_path, samples, drawn):
    named = replace(samples, paths=PathList.of(f"deep/{number}.jpg" for number in range(10)))
    worst = report(named, tmp_path, num_examples=1)["worst"]
    assert worst[0]["path"] == "deep/8.jpg"
    assert drawn["worst.png"][0].title.endswith("%: 8.jpg")


@dataclass(frozen=True)
class Skipping(PixelArray):
    """Cannot read the rows 0 and 8."""

    def __call__(self, rows, keys):
        kept = ((rows != 0) & (rows != 8)).nonzero().flatten()
        return self.pixels[rows[kept]], kept


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_files_that_are_skipped_are_left_out(tmp_path, samples, drawn, batch_size):
    whole = report(samples, tmp_path, num_examples=3)["worst"]
    skipping = replace(samples, reader=Skipping(samples.reader.pixels))
    found = report(skipping, tmp_path, num_examples=2, batch_size=batch_size)
    assert found["worst"] == whole[1:]
    assert [image["id"] for image in found["worst"]] == [107, 106]
    assert [image.title for image in drawn["overlays.png"]] == ["id 109"]


def test_classes_without_a_name_are_refused(tmp_path, samples):
    with pytest.raises(ValueError, match=r"targets: got 2 in masks, expected classes 0\.\.1"):
        report_masks(Reader(), samples, NAMES[:2], tmp_path, torch.device("cpu"))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_network_computes_in_the_precision_that_is_asked(tmp_path, samples, monkeypatch, precision):
    lowered = []

    def forward(reader, images):
        lowered.append(torch.is_autocast_enabled("cpu"))
        return plain(reader, images)

    plain = Reader.forward
    monkeypatch.setattr(Reader, "forward", forward)
    report(samples, tmp_path, num_examples=1, precision=precision)
    assert lowered[-1] == (precision == "bfloat16")


def test_batches_are_not_filled_up(tmp_path, samples, monkeypatch):
    sizes = set()
    plain = Reader.forward
    monkeypatch.setattr(Reader, "forward", lambda reader, images: sizes.add(len(images)) or plain(reader, images))
    report(samples, tmp_path, num_examples=1, batch_size=4)
    assert sizes <= {1, 2, 4}


@pytest.mark.parametrize("num_examples", [1, 6])
def test_nothing_is_drawn_of_the_worst_where_nothing_is_known(tmp_path, samples, num_examples):
    unknown = MaskArray(torch.full((10, SIZE, SIZE), 255, dtype=torch.uint8))
    found = report(replace(samples, masks=unknown), tmp_path, num_examples=num_examples)
    assert found["mean_iou"] is None
    assert found["worst"] == []
    assert not (tmp_path / "worst.png").exists()


@pytest.mark.parametrize("num_classes", [2, 21, 150, 255])
def test_each_image_has_the_mean_iou_of_the_metrics(num_classes):
    generator = torch.Generator().manual_seed(0)
    predicted, true = torch.randint(0, num_classes, (2, 7, 12, 9), generator=generator).to(torch.uint8)
    true[torch.rand(true.shape, generator=generator) < 0.2] = 255
    true[3] = 255
    means = image_ious(predicted, true, num_classes)
    for mean, seen, there in zip(means, predicted, true, strict=True):
        metrics = SegmentationMetrics(num_classes)
        metrics.update(seen[None], there[None])
        assert float(mean) == pytest.approx(float(metrics.class_ious().nanmean()), nan_ok=True)
    assert means[3].isnan()
