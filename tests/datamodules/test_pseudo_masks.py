"""Pseudo-masks: the same files whatever the processes, whole or a clear error; which of their pixels are taught."""

import hashlib
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning import LightningModule

from datamodules.batch import make_batch
from datamodules.labeled import LabeledDataModule
from datamodules.mask_files import read_confidences, read_mask
from datamodules.mask_views import MaskView, create_mask_policy
from datamodules.pseudo_label_merging import merge_shards
from datamodules.pseudo_label_writer import PseudoMaskWriter
from datamodules.pseudo_labeled import PseudoLabeledDataModule
from datamodules.pseudo_labels import PseudoLabels, TableMetadata
from datamodules.pseudo_mask_files import write_pseudo_masks
from datamodules.pseudo_masks import PixelCounts, balanced_levels, count_pixels, open_masks, select_pixels
from datamodules.segmentation import SegmentationDataModule
from datamodules.sources.source import MaskArray, PixelArray
from datamodules.unlabeled import UnlabeledDataModule
from datamodules.views import View, create_policy
from tests.conftest import make_source
from tests.datamodules.test_segmentation import SIZE, Recorder, make_mask_source

METADATA = TableMetadata("ab" * 32, "squares", tuple("abcde"))


@pytest.fixture
def labeled():
    return SegmentationDataModule(make_mask_source(), num_labeled=10, num_validation=8, batch_size=4)


def probabilities_of(ids, seed=0):
    """Return ``(n, 5, SIZE, SIZE)`` that follow from the ids alone; of some images no pixel is confident."""
    maps = []
    for number in ids.tolist():
        generator = torch.Generator().manual_seed(1000 * seed + number)
        scale = 0.5 if number % 4 == 0 else 6
        maps.append((scale * torch.rand(5, SIZE, SIZE, generator=generator)).softmax(dim=0))
    return torch.stack(maps)


def write_shards(path, *shards, seed=0, token="run"):
    """Write one shard a process, each a list of batches of ids; return their folder."""
    for process, batches in enumerate(shards):
        writer = PseudoMaskWriter(path, METADATA)
        writer.token = token
        writer.open(process, len(shards))
        for ids in batches:
            writer.append(ids, probabilities_of(ids, seed))
        writer.finish()
    return writer.shards


def write_table(path, pool, seed=0):
    merge_shards(write_shards(path, pool.ids.split(5), seed=seed), path, pool)
    return PseudoLabels.read(path)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return a folder with a table and its masks, which stays as it is."""
    folder = tmp_path_factory.mktemp("written")
    labeled = SegmentationDataModule(make_mask_source(), num_labeled=10, num_validation=8)
    write_table(folder / "table.parquet", labeled.pool)
    return folder


@pytest.fixture
def table(tmp_path, written):
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    return PseudoLabels.read(tmp_path / "table.parquet")


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_any_number_of_processes_in_any_order_give_the_same_bytes(tmp_path, labeled):
    pool, chunks = labeled.pool, labeled.pool.ids.split(5)
    tables, folders = [], []
    for number, shards in enumerate([[chunks], [chunks[1::2], chunks[::2]], [[pool.ids[torch.randperm(32)]], []]]):
        path = tmp_path / str(number) / "table.parquet"
        path.parent.mkdir()
        table = merge_shards(write_shards(path, *shards), path, pool)
        tables.append(path.read_bytes())
        folders.append(files_of(table.masks))
        assert set(path.parent.iterdir()) == {path, table.masks}
    assert tables[0] == tables[1] == tables[2]
    assert folders[0] == folders[1] == folders[2]
    assert len(folders[0]) == 2 * 32 + 1


def test_the_files_are_what_was_predicted(labeled, table):
    probabilities = probabilities_of(table.ids)
    assert torch.equal(table.ids, labeled.pool.ids.sort().values)
    torch.testing.assert_close(table.probabilities, probabilities.mean(dim=(2, 3)))
    assert torch.equal(table.labels, table.probabilities.argmax(dim=1))
    for number, pixels in zip(table.ids.tolist(), probabilities, strict=True):
        confidences, classes = pixels.amax(dim=0), pixels.argmax(dim=0)
        assert np.array_equal(read_mask(table.masks / f"{number}.png", 5), classes.numpy())
        stored = read_confidences(table.masks / f"{number}.confidence.png")
        assert np.abs(stored - confidences.numpy()).max() <= 0.5 / 255 + 1e-6


def test_of_equally_probable_classes_the_first_is_written(tmp_path):
    pixels = torch.tensor([0.1, 0.4, 0.1, 0.4]).view(1, 4, 1, 1).expand(1, 4, 3, 2)
    write_pseudo_masks(tmp_path, torch.tensor([7]), pixels)
    assert (read_mask(tmp_path / "7.png", 4) == 1).all()


def test_the_tables_digest_covers_every_file(table):
    listed = (table.masks / "SHA256SUMS").read_text()
    assert hashlib.sha256(listed.encode()).hexdigest() == table.metadata.masks
    assert table.masks.name == f"table.parquet.masks-{table.metadata.masks[:12]}"
    files = files_of(table.masks)
    assert listed.splitlines() == [
        f"{hashlib.sha256(files[name]).hexdigest()}  {name}"
        for number in table.ids.tolist()
        for name in (f"{number}.png", f"{number}.confidence.png")
    ]


def test_a_killed_run_leaves_the_earlier_table_and_its_masks(tmp_path, labeled, table, monkeypatch):
    path, pool = tmp_path / "table.parquet", labeled.pool
    before = files_of(table.masks)
    shards = write_shards(path, [pool.ids], seed=1, token="killed")

    def die(self, path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PseudoLabels, "write", die)
        with pytest.raises(KeyboardInterrupt):
            merge_shards(shards, path, pool)
    again = PseudoLabels.read(path)
    assert again.metadata == table.metadata
    assert files_of(again.masks) == before
    count_pixels(open_masks(again, (SIZE, SIZE)))

    other = write_table(tmp_path / "other.parquet", pool, seed=3)
    newest = write_table(path, pool, seed=2)
    assert set(tmp_path.iterdir()) == {path, newest.masks, tmp_path / "other.parquet", other.masks}
    assert not torch.equal(newest.probabilities, table.probabilities)


def test_masks_written_again_take_the_place_of_damaged_ones(tmp_path, labeled, table):
    before = files_of(table.masks)
    next(table.masks.glob("*.png")).write_bytes(b"")
    again = write_table(tmp_path / "table.parquet", labeled.pool)
    assert again.masks == table.masks
    assert files_of(again.masks) == before


@pytest.mark.parametrize("name", ["{}.png", "{}.confidence.png"])
def test_a_run_without_one_of_its_files_is_refused(tmp_path, labeled, name):
    pool, path = labeled.pool, tmp_path / "table.parquet"
    shards = write_shards(path, [pool.ids])
    lost = shards / "masks" / name.format(int(pool.ids[3]))
    lost.unlink()
    with pytest.raises(
        ValueError, match=rf"{lost.name}: no such file, expected the mask .* of 32 images; run the same"
    ):
        merge_shards(shards, path, pool)
    assert not path.exists()
    assert shards.is_dir()


def test_masks_that_are_missing_damaged_or_replaced_are_named(labeled, table):
    def use():
        PseudoLabeledDataModule(labeled, table, labels="hard")

    first, second, *_ = sorted(path for path in table.masks.iterdir() if path.suffix == ".png")
    content = first.read_bytes()
    for change in (content[:-20], second.read_bytes()):
        first.write_bytes(change)
        with pytest.raises(
            ValueError, match=rf"{first.name}: got \w{{12}}, expected .* SHA-256 .* label the pool again"
        ):
            use()
    first.unlink()
    with pytest.raises(
        ValueError, match=rf"{first.name}: got no such file, expected .* put it back, or label the pool"
    ):
        use()
    first.write_bytes(content)
    use()
    (table.masks / "SHA256SUMS").write_text("")
    with pytest.raises(ValueError, match="SHA256SUMS: got e3b0c44298fc, expected"):
        use()


def test_a_table_that_lost_rows_is_refused(table):
    fewer = replace(table, ids=table.ids[:-2], probabilities=table.probabilities[:-2])
    with pytest.raises(
        ValueError, match="SHA256SUMS: lists 64 files, expected two of each of the 30 images in the pse"
    ):
        open_masks(fewer, (SIZE, SIZE))


def test_a_mask_replaced_while_training_is_noticed(labeled, table):
    samples = PseudoLabeledDataModule(labeled, table, labels="hard").pseudo_labeled
    path = table.masks / f"{int(samples.ids[2])}.png"
    samples.read_targets(torch.arange(4))
    path.write_bytes((table.masks / f"{int(samples.ids[3])}.png").read_bytes())
    with pytest.raises(ValueError, match=rf"{path.name}: got"):
        samples.read_targets(torch.arange(4))


def test_masks_of_another_size_are_refused(table):
    with pytest.raises(ValueError, match=r"\.png: has 12x12 pixels, expected the 16x12 of its image; .*image_size"):
        count_pixels(open_masks(table, (12, 16)))


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        (torch.ones(4, 5) / 5, r"predictions are \(4, 5\), expected probabilities of every pixel, \(4, 5, height, wid"),
        (
            torch.ones(4, 3, 8, 8) / 3,
            r"predictions are \(4, 3, 8, 8\), expected .* \(4, 5, height, width\); label with",
        ),
        (torch.ones(3, 5, 8, 8) / 5, r"predictions are \(3, 5, 8, 8\), expected"),
        (torch.ones(4, 5, 8, 8), "4 of 4 images of a batch are NaN or do not sum to 1"),
        (torch.full((4, 5, 8, 8), float("nan")), "4 of 4 images of a batch are NaN"),
    ],
)
def test_predictions_that_are_no_probabilities_of_pixels_are_refused(tmp_path, probabilities, message):
    writer = PseudoMaskWriter(tmp_path / "table.parquet", METADATA)
    writer.open(0, 1)
    with pytest.raises(ValueError, match=message):
        writer.append(torch.arange(4), probabilities)
    writer.discard()
    assert [path.name for path in writer.shards.rglob("*")] == ["masks"]


def test_a_failed_run_leaves_no_files(tmp_path):
    writer = PseudoMaskWriter(tmp_path / "table.parquet", METADATA)
    writer.open(0, 1)
    writer.append(torch.arange(4), probabilities_of(torch.arange(4)))
    assert len(list((writer.shards / "masks").iterdir())) == 8
    writer.discard()
    assert [path.name for path in writer.shards.rglob("*")] == ["masks"]


def counts_of(pixels):
    """Return the counts of images ``[(class, level, number), ...]``, whose true masks are unknown."""
    joint = torch.zeros(4, 3, 256, dtype=torch.int64)
    highest = torch.full((len(pixels), 3), -1, dtype=torch.int16)
    for image, kinds in enumerate(pixels):
        for label, level, number in kinds:
            joint[3, label, level] += number
            highest[image, label] = max(int(highest[image, label]), level)
    return PixelCounts(joint, highest)


IMAGES = [[(0, 255, 40), (1, 128, 6)], [(0, 230, 40)], [(0, 200, 20), (1, 100, 4)], [(2, 90, 10)]]


def small_table(num_images=4):
    probabilities = torch.tensor([[0.5, 0.3, 0.2]]).repeat(num_images, 1)
    return PseudoLabels(100 + torch.arange(num_images), probabilities, TableMetadata("t", "s", tuple("abc")))


@pytest.mark.parametrize(
    ("options", "pixels", "ids"),
    [
        ({}, [100, 10, 10], [100, 101, 102, 103]),
        ({"confidence_threshold": 0.5}, [100, 6, 0], [100, 101, 102]),
        ({"confidence_threshold": 128 / 255}, [100, 6, 0], [100, 101, 102]),  # what is stored reaches itself
        ({"confidence_threshold": [0.9, 0.6, 0.2]}, [80, 0, 10], [100, 101, 103]),
        ({"confidence_threshold": [1.0, 0.5, 0.5]}, [40, 6, 0], [100]),
    ],
)
def test_pixels_that_reach_their_threshold_are_taught(options, pixels, ids):
    selection = select_pixels(small_table(), counts_of(IMAGES), **options)
    assert selection.ids.tolist() == ids
    assert selection.summary == {
        "pool": 4,
        "num_selected": len(ids),
        "num_rows": len(ids),
        "per_class": pixels,
        "rows_per_class": pixels,
    }
    assert selection.targets.tolist() == [0] * len(ids)


def test_balance_takes_the_same_share_of_every_class():
    # Of 120 pixels 80 reach 0.9. Two thirds of class 0 are above 200, of class 1 above 99, of class 2 above 89.
    selection = select_pixels(small_table(), counts_of(IMAGES), confidence_threshold=0.9, balance=True)
    assert selection.least_levels.tolist() == [230, 100, 90]
    assert selection.summary["per_class"] == [80, 10, 10]
    # Of 120 pixels 46 reach it with these: 38 % of each class.
    selection = select_pixels(small_table(), counts_of(IMAGES), confidence_threshold=[1, 0.5, 0.5], balance=True)
    assert selection.least_levels.tolist() == [255, 128, 90]


def test_balanced_thresholds_are_the_quantiles_of_each_class():
    generator = torch.Generator().manual_seed(0)
    by_level = torch.randint(0, 50, (6, 256), generator=generator)
    by_level[4] = 0  # no pixel of this class
    given = torch.tensor([250, 200, 256, 130, 0, 256])
    share = sum(int(by_level[label, least:].sum()) for label, least in enumerate(given.tolist())) / int(by_level.sum())
    for label, least in enumerate(balanced_levels(by_level, given).tolist()):
        levels = np.repeat(np.arange(256), by_level[label].numpy())
        if len(levels):
            falling = np.sort(levels)[::-1]
            assert least == falling[int(np.ceil(share * len(levels))) - 1]  # the last of the share


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"labels": "soft"},
            "labels: got 'soft', expected 'hard' for images with masks: a pseudo-mask keeps one class",
        ),
        ({"max_per_class": 3}, "max_per_class: got 3, expected none for images with masks"),
        ({"confidence_threshold": 1.5}, r"confidence_threshold: got 1\.5, expected a probability"),
        (
            {"confidence_threshold": 0.6},
            r"confidence_threshold: got 0\.6, which selects 100 pixels of the pseudo-masks of one class only, a; expec",
        ),
    ],
)
def test_options_that_do_not_suit_masks_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        select_pixels(small_table(), counts_of(IMAGES), **options)


@pytest.mark.parametrize("balance", [False, True])
def test_a_threshold_that_no_pixel_reaches_is_refused(balance):
    counts = counts_of([[(0, 200, 5), (1, 204, 7)]])
    with pytest.raises(
        ValueError, match=r"got 0\.9, expected some of the 12 pixels .* largest confidence is 0\.8; low"
    ):
        select_pixels(small_table(1), counts, confidence_threshold=0.9, balance=balance)


def test_pixels_are_counted_by_truth_label_and_confidence(labeled, table):
    pool = labeled.pool
    order = (table.ids[:, None] == pool.ids).nonzero()[:, 1]
    samples = pool.select(order)
    samples = replace(samples, targets=torch.where(torch.arange(32) % 3 == 0, -1, 0))  # of some the truth is unknown
    counts = count_pixels(open_masks(table, (SIZE, SIZE)), samples)
    confidences, classes = probabilities_of(table.ids).max(dim=1)
    truth = pool.read_targets(order).long()
    truth[::3] = 5
    levels = (confidences * 255).round().long()
    expected = Counter(
        zip(truth.flatten().tolist(), classes.flatten().tolist(), levels.flatten().tolist(), strict=True)
    )
    assert {key: int(counts.joint[key]) for key in expected} == expected
    assert int(counts.joint.sum()) == 32 * SIZE**2
    for image in range(32):
        for label in range(5):
            of_class = levels[image][classes[image] == label]
            assert int(counts.highest[image, label]) == (int(of_class.max()) if len(of_class) else -1)


def taught_by_id(table, threshold):
    """Return the expected masks ``(n, H, W)`` by id, of images with a pixel that reaches the threshold."""
    confidences, classes = probabilities_of(table.ids).max(dim=1)
    stored = (confidences * 255).round() / 255
    masks = torch.where(stored >= threshold, classes, 255)
    pairs = zip(table.ids.tolist(), masks, strict=True)
    return {number: mask for number, mask in pairs if (mask != 255).any()}


def fit(make_trainer, data):
    recorder = Recorder()
    make_trainer(limit_val_batches=0).fit(recorder, data)
    return recorder.training_batches


def test_confident_pixels_are_taught_and_images_without_any_are_left_out(labeled, table, make_trainer):
    data = PseudoLabeledDataModule(labeled, table, confidence_threshold=0.8, labels="hard", steps_per_epoch=8)
    expected = taught_by_id(table, 0.8)
    assert 0 < len(expected) < 32
    assert data.selection.ids.tolist() == sorted(expected)
    seen = set()
    for batch in fit(make_trainer, data):
        assert batch["labeled"].targets.shape == (4, SIZE, SIZE)
        taught = batch["pseudo_labeled"]
        assert taught.targets.dtype == torch.int64
        assert torch.equal(taught.targets, torch.stack([expected[number] for number in taught.ids.tolist()]))
        pixels = labeled.pool.images((taught.ids[:, None] == labeled.pool.ids).nonzero()[:, 1])
        assert torch.equal((taught.images * 255).round(), pixels.float())
        seen |= set(taught.ids.tolist())
    assert seen == set(expected)


def test_views_move_pseudo_masks_as_they_move_masks(labeled, table, make_trainer):
    view = MaskView(create_mask_policy("weak"), seed=3)
    data = PseudoLabeledDataModule(labeled, table, labels="hard", view=view, steps_per_epoch=4)
    masks = taught_by_id(table, 0)
    (pixels, *_) = [batch["pseudo_labeled"] for batch, *_ in data.train_dataloader()]
    (batch, *_) = fit(make_trainer, data)
    given = torch.stack([masks[number] for number in pixels.ids.tolist()]).to(torch.uint8)
    assert torch.equal(batch["pseudo_labeled"].targets, view.masks(given, pixels.ids, pixels.epochs).long())
    assert not torch.equal(batch["pseudo_labeled"].targets, given.long())
    plain = PseudoLabeledDataModule(labeled, table, labels="hard", view=View(create_policy("weak")))
    with pytest.raises(ValueError, match=r"view: got a View, .* expected a MaskView"):
        fit(make_trainer, plain)


def test_balance_reaches_the_batches(labeled, table):
    plain, balanced = (
        PseudoLabeledDataModule(
            labeled, table, labels="hard", confidence_threshold=[0.9, 0.9, 0.9, 0.9, 0.0], balance=b
        )
        for b in (False, True)
    )
    counts = [
        data.pseudo_labeled.read_targets(torch.arange(len(data.selection))).flatten() for data in (plain, balanced)
    ]
    for data, targets in zip((plain, balanced), counts, strict=True):
        assert targets.bincount(minlength=256)[:5].tolist() == data.selection.summary["per_class"]
    shares = torch.tensor(balanced.selection.summary["per_class"]) / torch.bincount(
        probabilities_of(table.ids).argmax(dim=1).flatten()
    )
    assert float(shares.max() - shares.min()) < 0.02
    assert plain.selection.summary["per_class"][4] > 2 * max(plain.selection.summary["per_class"][:4])


def test_workers_read_the_same_masks(table, make_trainer):
    def batches(num_workers):
        source = make_mask_source_again(table)
        data = SegmentationDataModule(source, num_labeled=10, num_validation=8, batch_size=4, num_workers=num_workers)
        return fit(make_trainer, PseudoLabeledDataModule(data, table, labels="hard", confidence_threshold=0.8))

    for one, two in zip(batches(0), batches(1), strict=True):
        assert torch.equal(one["pseudo_labeled"].targets, two["pseudo_labeled"].targets)


def make_mask_source_again(table):
    torch.manual_seed(0)
    return make_mask_source()


def test_the_truth_is_never_read(labeled, table, make_trainer):
    class Secret(MaskArray):
        def __call__(self, rows):
            raise AssertionError("the truth of the pool was read")

    labeled.pool = replace(labeled.pool, masks=Secret(labeled.pool.masks.masks))
    fit(make_trainer, PseudoLabeledDataModule(labeled, table, labels="hard"))


def test_tables_without_masks_do_not_suit_images_with_masks(labeled, table):
    with pytest.raises(
        ValueError, match=r"the table has no masks, expected masks in a folder beside it, as squares nee"
    ):
        PseudoLabeledDataModule(labeled, replace(table, masks=None), labels="hard")
    with pytest.raises(ValueError, match="labels: got 'soft', expected 'hard'"):
        PseudoLabeledDataModule(labeled, table)


def test_masks_outside_the_pool_and_data_without_a_pool_are_refused(labeled, table):
    other = SegmentationDataModule(labeled.source, num_labeled=10, num_validation=8, split_seed=1)
    with pytest.raises(
        ValueError, match=r"are not in the pool of 32 samples.*data\.num_labeled or data\.labeled_fracti"
    ):
        PseudoLabeledDataModule(other, table, labels="hard")
    whole = SegmentationDataModule(labeled.source)
    for build in (lambda: PseudoLabeledDataModule(whole, table), lambda: UnlabeledDataModule(whole)):
        with pytest.raises(
            ValueError, match=r"data\.num_labeled: got all 45 training images of squares.*labeled_fract"
        ):
            build()


def test_classes_of_masks_cannot_be_aligned(labeled, table):
    with pytest.raises(ValueError, match="align: got true, expected false for images with masks"):
        PseudoLabeledDataModule(labeled, table, labels="hard", align=True)


class Teacher(LightningModule):
    """Says of every pixel what its brightness says."""

    def predict_step(self, batch, batch_idx):
        return torch.nn.functional.one_hot((batch.images[:, 0] * 25.5).round().long(), 5).movedim(-1, 1).float()


def test_lightning_predicts_into_files(tmp_path, labeled, make_trainer):
    path, data = tmp_path / "table.parquet", UnlabeledDataModule(labeled)
    writer = PseudoMaskWriter(path, METADATA)
    make_trainer(callbacks=[writer]).predict(Teacher(), data, return_predictions=False)
    table = merge_shards(writer.shards, path, data.pool)
    masks = open_masks(table, (SIZE, SIZE))
    for position, number in enumerate(table.ids.tolist()):
        classes, levels = masks.read(position)
        assert torch.equal(classes, labeled.pool.read_targets((labeled.pool.ids == number).nonzero()[:, 0])[0])
        assert (levels == 255).all()


def test_unlabelled_masks_are_minus_one_where_the_image_is(labeled):
    """A loss may teach there from a teacher, and nowhere in the padding."""
    pixels = torch.full((50, 1, SIZE, SIZE), 200, dtype=torch.uint8)
    labeled.pool = replace(labeled.pool, reader=PixelArray(pixels))
    view = MaskView(create_mask_policy("weak", crop_padding=3), seed=1)
    data = UnlabeledDataModule(labeled, batch_size=8, view=view)
    for batch, *_ in data.train_dataloader():
        unlabeled = data.on_after_batch_transfer(batch, 0)["unlabeled"]
        assert unlabeled.targets.dtype == torch.int64
        assert torch.equal(unlabeled.targets == 255, unlabeled.images[:, 0] == 0)
        assert torch.equal(unlabeled.targets == -1, unlabeled.images[:, 0] > 0)
        images = make_batch(batch["unlabeled"], view).images
        assert torch.equal(unlabeled.images, images)


def test_a_table_of_masks_does_not_suit_classes(table):
    data = LabeledDataModule(make_source(), labels_per_class=4, num_validation=9)
    other = replace(table, metadata=replace(table.metadata, source="stripes", class_names=data.class_names))
    with pytest.raises(ValueError, match=r"the table has masks, expected none, as stripes needs"):
        PseudoLabeledDataModule(data, other)
