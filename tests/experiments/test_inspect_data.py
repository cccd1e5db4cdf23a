"""The contact sheet shows what learners see."""

import numpy as np
import torch
from PIL import Image

from datamodules.mask_views import MaskView, create_mask_policy
from datamodules.sources import create_source
from experiments.command_line import carry_out
from experiments.commands import InspectDataCommand
from experiments.inspect_data import read, spread
from experiments.mask_plots import overlay
from experiments.settings import DataSettings


def test_it_is_drawn_and_says_how_much_there_is(tmp_path, capsys):
    data = DataSettings(num_validation=100, labels_per_class=10)
    command = InspectDataCommand(output=str(tmp_path), name="sheet", wandb="off", data=data, num_samples=3)
    assert carry_out("inspect-data", command, debug=True) == 0
    said = capsys.readouterr().out
    assert "digits: 100 labelled, 100 validation, 445 test, 1,152 unlabelled; 10 classes" in said
    with Image.open(tmp_path / "sheet" / "contact_sheet.png") as sheet:
        colors = len(np.unique(np.asarray(sheet.convert("L"))))
        assert min(sheet.size) > 300
    assert colors > 20


def test_samples_are_spread_over_the_classes():
    targets = torch.tensor([0, 0, 0, 2, 1, 1, 2])
    assert targets[spread(targets, 5)].tolist() == [0, 1, 2, 0, 1]
    assert len(spread(targets, 100)) == 7


def test_masks_lie_over_their_images_and_move_along():
    source = create_source("digit_scenes", num_scenes=6, side=32)
    samples = source.train.select(torch.arange(2))
    plain = read(samples, 0, MaskView(create_mask_policy("none"), 0), background=0)
    images, masks = samples.images(torch.arange(2)), samples.read_targets(torch.arange(2))
    expected = [
        overlay(i.permute(1, 2, 0).numpy(), m.numpy(), background=0) for i, m in zip(images, masks, strict=True)
    ]
    assert torch.equal((255 * plain).round().to(torch.uint8), torch.from_numpy(np.stack(expected)).permute(0, 3, 1, 2))
    flipped = read(samples, 0, MaskView(create_mask_policy("none", horizontal_flip=True), 0), epoch=1, background=0)
    assert not torch.equal(plain, flipped)


def test_a_sheet_of_scenes_is_drawn(tmp_path, capsys):
    data = DataSettings(source="digit_scenes", num_scenes=40, side=32, num_labeled=20)
    command = InspectDataCommand(output=str(tmp_path), name="sheet", wandb="off", data=data, num_samples=2)
    assert carry_out("inspect-data", command, debug=True) == 0
    assert "digit_scenes: 20 labelled, 4 validation, 10 test, 16 unlabelled" in capsys.readouterr().out
    assert (tmp_path / "sheet" / "contact_sheet.png").is_file()
