"""Class names in checkpoints: a network is never counted right for another class with the same index."""

from dataclasses import replace

import pytest
import torch

from experiments.class_names import require_same_classes
from experiments.command_line import carry_out
from experiments.commands import DistillCommand, EvaluateCommand, TrainCommand
from experiments.network_settings import NetworkSettings, TeacherSettings
from experiments.settings import DataSettings, TrainerSettings
from lightning_modules.checkpoints import load_checkpoint

LOW = DataSettings(classes="0,1,2,3,4", num_validation=50, steps_per_epoch=2)
HIGH = replace(LOW, classes="5,6,7,8,9")
TRAINER = TrainerSettings(max_epochs=1, accelerator="cpu", enable_progress_bar=False)


@pytest.fixture
def checkpoint(tmp_path):
    """Train on the digits 0 to 4."""
    model = NetworkSettings(network="cnn_tiny")
    command = TrainCommand(output=str(tmp_path), name="t", wandb="off", data=LOW, trainer=TRAINER, model=model)
    assert carry_out("train", command, debug=True) == 0
    return str(tmp_path / "t/stages/0-train/checkpoints/best.ckpt")


def test_a_checkpoint_is_of_its_classes(tmp_path, checkpoint, capsys):
    assert load_checkpoint(checkpoint)["class_names"] == ["0", "1", "2", "3", "4"]
    options = {"output": str(tmp_path), "wandb": "off", "trainer": TRAINER}
    assert carry_out("evaluate", EvaluateCommand(checkpoint=checkpoint, data=LOW, **options), debug=True) == 0
    assert carry_out("evaluate", EvaluateCommand(checkpoint=checkpoint, data=HIGH, **options), debug=False) == 2
    assert f"checkpoint: got {checkpoint}, whose class 0 is '0', expected" in capsys.readouterr().err
    teacher = TeacherSettings(checkpoint=checkpoint)
    assert carry_out("distill", DistillCommand(teacher=teacher, data=HIGH, **options), debug=False) == 2
    assert f"teacher.checkpoint: got {checkpoint}, whose class 0 is '0', expected" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["stripe 0", "stripe 1", "stripe 2"], None),
        (None, None),
        (
            ["stripe 0", "stripe 2", "stripe 1"],
            "whose class 1 is 'stripe 2', .* of stripes in their order, where it is",
        ),
        (["stripe 0", "stripe 1"], "whose class 2 is None, .* where it is 'stripe 2'; give --data.classes as it was"),
    ],
)
def test_names_and_their_order_must_be_the_same(tmp_path, source, names, message):
    file = str(tmp_path / "some.ckpt")
    torch.save({} if names is None else {"class_names": names}, file)
    if message is None:
        require_same_classes(file, source, "checkpoint")
    else:
        with pytest.raises(ValueError, match=message):
            require_same_classes(file, source, "checkpoint")
