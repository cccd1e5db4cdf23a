"""Metrics of masks against torchmetrics, by hand, and across images, batches and processes."""

import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex

from lightning_modules.segmentation_metrics import BoundaryCounts, SegmentationMetrics, most_probable_classes


def masks(num_classes: int, *shape: int, ignored: float = 0.2) -> torch.Tensor:
    targets = torch.randint(0, num_classes, shape)
    return targets.masked_fill(torch.rand(shape) < ignored, 255)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(3, 21, 37, 53), (1, 2, 1, 20_000), (2, 255, 5, 7), (2, 1, 3, 3)])
def test_the_most_probable_class_is_the_first_of_the_largest(shape, layout, dtype):
    logits = torch.randn(shape).to(dtype).contiguous(memory_format=layout)
    before = logits.clone()
    assert torch.equal(most_probable_classes(logits).long(), logits.argmax(dim=1))
    assert torch.equal(logits, before)
    assert most_probable_classes(torch.zeros(1, 4, 2, 2)).sum() == 0
    assert most_probable_classes(logits.requires_grad_()).dtype == torch.uint8


@pytest.mark.parametrize("as_logits", [True, False])
def test_equal_torchmetrics_over_all_images(as_logits):
    metrics, peer = SegmentationMetrics(7), MulticlassJaccardIndex(7, ignore_index=255, average=None)
    for _ in range(3):
        logits, targets = torch.randn(4, 7, 19, 23), masks(6, 4, 19, 23)
        logits[:, 6] -= 100  # the last class does not occur
        logits.scatter_add_(1, targets.clamp(max=6).unsqueeze(1), torch.rand(4, 1, 19, 23))
        predictions = logits if as_logits else logits.argmax(dim=1)
        metrics.update(predictions, targets)
        peer.update(predictions, targets)
    expected = peer.compute().double()
    torch.testing.assert_close(metrics.class_ious()[:6], expected[:6], atol=1e-6, rtol=0)
    assert metrics.class_ious()[6].isnan()
    assert float(metrics.compute()["mean_iou"]) == pytest.approx(float(expected[:6].mean()), abs=1e-6)


def test_by_hand():
    predictions = torch.tensor([[[0, 0, 1], [1, 1, 2]]])
    targets = torch.tensor([[[0, 1, 1], [1, 255, -1]]])
    metrics = SegmentationMetrics(4)
    metrics.update(predictions, targets)
    assert metrics.class_ious()[:2].tolist() == pytest.approx([1 / 2, 2 / 3])
    assert metrics.class_ious()[2:].isnan().all()
    values = metrics.compute()
    assert set(values) == {"mean_iou", "accuracy"}
    assert float(values["mean_iou"]) == pytest.approx(7 / 12)
    assert float(values["accuracy"]) == 3 / 4


def test_it_is_not_the_mean_over_images_and_reset_forgets():
    predictions = torch.tensor([[[0, 0, 0, 0]], [[0, 1, 1, 1]]])
    targets = torch.tensor([[[0, 0, 0, 1]], [[0, 0, 1, 1]]])
    metrics = SegmentationMetrics(2)
    metrics.update(predictions[:1], targets[:1])
    metrics.update(predictions[1:], targets[1:])
    expected = (4 / 6 + 2 / 4) / 2
    assert float(metrics.compute()["mean_iou"]) == pytest.approx(expected)
    metrics.reset()
    metrics.update(targets, targets)
    assert float(metrics.compute()["mean_iou"]) == 1


def test_nothing_known_is_zero_and_not_nan():
    metrics = SegmentationMetrics(3, boundary=True)
    metrics.update(torch.randn(2, 3, 4, 4), torch.full((2, 4, 4), 255))
    metrics.update(torch.randn(2, 3, 4, 4), torch.full((2, 4, 4), -1))
    assert all(float(value) == 0 for value in metrics.compute().values())


def test_values_that_are_no_classes_are_refused():
    metrics = SegmentationMetrics(3)
    metrics.update(torch.zeros(1, 3, 1, 2), torch.tensor([[[7, 3]]]))
    with pytest.raises(ValueError, match=r"targets: got 3, 7 in masks, expected classes 0..2"):
        metrics.compute()
    metrics.reset()
    metrics.update(torch.full((1, 3, 1, 1), torch.nan), torch.zeros(1, 1, 1))
    with pytest.raises(ValueError, match=r"predictions: got 255.* no NaN among the logits"):
        metrics.compute()


def test_more_classes_than_bytes_are_refused():
    with pytest.raises(ValueError, match="num_classes: got 256, expected 1 to 255"):
        SegmentationMetrics(256)


@pytest.mark.parametrize("boundary", [True, False])
def test_states_of_processes_are_summed(boundary):
    targets, predictions = masks(5, 6, 16, 16), masks(5, 6, 16, 16, ignored=0)
    whole = SegmentationMetrics(5, boundary=boundary)
    whole.update(predictions, targets)
    parts = [whole.clone() for _ in range(2)]
    for rank, part in enumerate(parts):
        part.reset()
        part.update(predictions[rank::2], targets[rank::2])
    for name, metric in parts[0].items(keep_base=True):
        assert metric._reductions["counts"].__name__ == "dim_zero_sum"
        metric.counts += parts[1][name].counts
    assert parts[0].compute() == whole.compute()


def square(top: int, size: int = 40) -> torch.Tensor:
    mask = torch.zeros(1, size, size, dtype=torch.long)
    mask[:, top : top + 10, 10:20] = 1
    return mask


@pytest.mark.parametrize(("shift", "expected"), [(0, 1), (1, 1), (20, 0)])
def test_boundaries_may_be_off_by_the_tolerance(shift, expected):
    metrics = BoundaryCounts(2)
    metrics.update(square(5 + shift), square(5))
    assert float(metrics.compute()) == expected


def test_boundary_f1_by_hand():
    # 400 columns: 0.75 % of the diagonal are 3 pixels. True boundary 99|100, predicted 99|100 in the upper, 110|111 in
    # the lower of two rows: between them another class is above or below.
    true = torch.zeros(1, 2, 400, dtype=torch.long)
    true[..., 100:] = 1
    predicted = true.clone()
    predicted[:, 1, 100:111] = 0
    metrics = BoundaryCounts(2)
    metrics.update(predicted, true)
    # Class 0: 1 + 12 predicted pixels, of which 1 + 4 within 3 of column 99; both true ones found. Class 1 likewise:
    # columns 100 to 110 above and 111 below, of which 100 to 103 are near.
    f1 = [2 * precision / (precision + 1) for precision in ((1 + 3) / 12, 4 / 12)]
    assert float(metrics.compute()) == pytest.approx(sum(f1) / 2)


def test_boundaries_next_to_ignored_pixels_do_not_count():
    mask = square(5)
    ring = torch.nn.functional.max_pool2d((mask == 1).float(), 3, 1, 1).bool() & (mask == 0)
    metrics = BoundaryCounts(2)
    metrics.update(mask, mask.masked_fill(ring, 255))
    assert metrics.counts.sum() == 0
