"""The contact sheet shows what learners see."""

import numpy as np
import torch
from PIL import Image

from experiments.command_line import carry_out
from experiments.commands import InspectDataCommand
from experiments.inspect_data import spread
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
