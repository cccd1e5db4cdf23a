"""Two processes see together the pixels that one sees."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT, clean_environment

PROGRAM = """
import pickle, sys, torch
from lightning import LightningModule, Trainer
from datamodules.augmentation.mixing import MixUp
from datamodules.labeled import LabeledDataModule
from datamodules.sources import create_source
from datamodules.views import Mixing, View, create_policy

class Recorder(LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.train_batches, self.val_ids = [], []
    def training_step(self, batch, batch_idx):
        self.train_batches.append(tuple(batch))
        return self.weight.sum()
    def validation_step(self, batch, batch_idx):
        self.val_ids += batch.ids.tolist()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

directory, devices = sys.argv[1], int(sys.argv[2])
view = View(create_policy("strong", crop_padding=1), seed=3)
data = LabeledDataModule(create_source("digits"), batch_size=16, num_validation=13, eval_batch_size=4, seed=3,
                         view=view, mixing=Mixing((MixUp(10, 1.0),), seed=3), steps_per_epoch=3)
recorder = Recorder()
trainer = Trainer(devices=devices, accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False,
                  enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0)
trainer.fit(recorder, data)
with open(f"{directory}/{trainer.world_size}-{trainer.global_rank}.pkl", "wb") as file:
    pickle.dump((recorder.train_batches, recorder.val_ids), file)
"""


def record(directory: Path, devices: int) -> list[tuple[list[tuple[torch.Tensor, ...]], list[int]]]:
    """Return what each process's module was given in two epochs, with Lightning's Trainer as anybody writes it."""
    program = directory / "program.py"
    program.write_text(PROGRAM)
    environment = clean_environment() | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, program, directory, str(devices)], env=environment, check=True, timeout=120)
    return [pickle.loads((directory / f"{devices}-{rank}.pkl").read_bytes()) for rank in range(devices)]


@pytest.mark.slow
def test_together_they_see_the_pixels_and_targets_of_one(tmp_path):
    ((whole, whole_ids),) = record(tmp_path, 1)
    (first, first_ids), (second, second_ids) = record(tmp_path, 2)
    assert len(whole) == len(first) == len(second) == 6
    for one, *halves in zip(whole, first, second, strict=True):
        for value, *parts in zip(one, *halves, strict=True):  # images, targets, ids
            assert torch.equal(value, torch.cat(parts))
    assert len(whole_ids) == 2 * 13
    assert sorted(first_ids + second_ids) == sorted(whole_ids)
