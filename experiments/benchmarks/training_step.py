"""A training step under Lightning, with logging and metrics, against a loop written by hand that does the same work."""

import csv
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import nn

from datamodules.batch import make_batch
from datamodules.labeled import LabeledDataModule
from datamodules.sources import create_source
from experiments.benchmarks.pairs import Comparison, compare
from experiments.metrics_log import MetricsLog
from experiments.settings import TrainerSettings
from experiments.training import create_callbacks, create_trainer
from lightning_modules.classification import ClassificationModule
from lightning_modules.losses import cross_entropy
from lightning_modules.networks import Network, NetworkSpec, count_parameters
from lightning_modules.networks.plain_cnn import PlainCNN
from lightning_modules.optimizers import create_optimizer, create_schedule
from lightning_modules.settings import OptimizerSettings

WARMUP_STEPS = 10
NUM_STEPS = 70
LOG_EVERY = 10


def run() -> list[Comparison]:
    """Compare 60 steps of a 0.2M-parameter network on the digits at batch 64; set-up is not counted.

    The images are of 8×8 pixels, so that a step is short and whatever Lightning adds to it weighs much.
    """
    parameters = count_parameters(create_benchmark_network())
    name = f"Lightning step, {parameters:,} parameters, batch 64, against a loop by hand"
    return [compare(name, with_lightning, by_hand, pairs=21, warmup=1, seconds_of=lambda work: float(str(work())))]


def create_data() -> LabeledDataModule:
    """Return the data of both sides."""
    return LabeledDataModule(create_source("digits"), batch_size=64, num_validation=100, steps_per_epoch=NUM_STEPS)


def create_benchmark_network() -> nn.Module:
    """Return the network of both sides."""
    torch.manual_seed(0)
    body = PlainCNN(((48, 48), (112, 112)), num_classes=10, num_channels=1)
    return Network(body, NetworkSpec("benchmark", num_classes=10, num_channels=1, mean=(0.3,), std=(0.38,)))


class StepClock(Callback):
    """Notes when the warm-up ends and when the last step ends."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Start the clock after the warm-up."""
        if batch_idx == WARMUP_STEPS:
            self.start = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop the clock."""
        if batch_idx == NUM_STEPS - 1:
            self.seconds = time.perf_counter() - self.start


def with_lightning() -> float:
    """Return the seconds of the counted steps as ``train`` takes them, progress bar and all."""
    clock = StepClock()
    with tempfile.TemporaryDirectory() as directory:
        callbacks = [clock, *create_callbacks(Path(directory), seed=0, monitor="val/accuracy")]
        settings = TrainerSettings(max_epochs=1, accelerator="cpu", log_every_n_steps=LOG_EVERY)
        trainer = create_trainer(settings, callbacks, [MetricsLog(Path(directory))], Path(directory))
        trainer.limit_val_batches = 0
        trainer.fit(ClassificationModule(create_benchmark_network(), 10), create_data())
    return clock.seconds


def by_hand() -> float:
    """Return the seconds of the same steps in a plain loop: same batches, network, optimizer, log, metrics."""
    data, network, settings = create_data(), create_benchmark_network().train(), OptimizerSettings()
    optimizer = create_optimizer(network, settings)
    schedule = create_schedule(optimizer, settings, NUM_STEPS)
    total_loss, correct, seen = torch.zeros(()), torch.zeros((), dtype=torch.long), 0
    with tempfile.TemporaryFile("w+") as file:
        log = csv.writer(file)
        for step, pixels in enumerate(data.train_dataloader()):
            if step == WARMUP_STEPS:
                start = time.perf_counter()
            images, targets, _ = make_batch(pixels, data.view)
            logits = network(images)
            loss = cross_entropy(logits, targets)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total_loss += loss.detach()
            correct += (logits.detach().argmax(dim=1) == targets).sum()
            seen += len(targets)
            if not torch.isfinite(loss):
                raise FloatingPointError("the loss is not finite")
            if (step + 1) % LOG_EVERY == 0:
                log.writerow([step, loss.item(), schedule.get_last_lr()[0], correct.item() / seen])
    return time.perf_counter() - start
