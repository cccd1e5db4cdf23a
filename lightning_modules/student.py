"""What every learner of this project shares: one network, its evaluation, its optimizer."""

from collections.abc import Callable
from typing import Any, Self, TypeAlias, cast

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection

from lightning_modules import optimizers
from lightning_modules.losses import cross_entropy, with_auxiliary
from lightning_modules.losses.cross_entropy import known_targets
from lightning_modules.segmentation_metrics import most_probable_classes
from lightning_modules.settings import OptimizerSettings, TransferSettings
from lightning_modules.transfer import FREEZING, begin_transfer, hold_norms, set_trainable

SupervisedLoss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Takes logits and true targets, returns a scalar."""


class NonFiniteLossError(FloatingPointError):
    """The training loss was NaN or infinite."""


class StudentModule(LightningModule):
    """Holds the network that learns, from true targets unless a subclass has another training step.

    Args:
        network: takes images ``(N, C, H, W)`` in ``[0, 1]``, returns logits ``(N, K)`` or ``(N, K, H, W)``.
        metrics: what is computed from logits and targets on validation and test data.
        supervised_loss: of logits and true targets.
        optimizer: optimizer and schedule.
        transfer: which layers learn, and how fast; default all alike.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        metrics: MetricCollection,
        supervised_loss: SupervisedLoss = cross_entropy,
        optimizer: OptimizerSettings | None = None,
        transfer: TransferSettings | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.supervised_loss = supervised_loss
        self.optimizer_settings = optimizer or OptimizerSettings()
        self.transfer = transfer or TransferSettings()
        self.metrics = nn.ModuleDict({"val": metrics.clone(), "test": metrics.clone()})
        self.losses = nn.ModuleDict({"val": MeanMetric(), "test": MeanMetric()})

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of ``images (N, C, H, W)`` in ``[0, 1]``."""
        logits: Tensor = self.network(images)
        return logits

    def forward_with_auxiliary(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the logits of ``images`` and those of the network's auxiliary classifiers, where it has any."""
        forward = getattr(self.network, "forward_with_auxiliary", None)
        return forward(images) if forward is not None else (self(images), ())

    def train(self, mode: bool = True) -> Self:
        """Switch to training or evaluation; batch norms among frozen layers stay in evaluation."""
        super().train(mode)
        if self.transfer.mode in FREEZING:
            hold_norms(self.network)
        return self

    def setup(self, stage: str) -> None:
        """Settle which layers learn and how weights lie in memory, before the optimizer and DDP look at them.

        Channels-last, with one CPU thread, a training step of six networks and sizes was 1.0 to 1.9 times as fast in
        float32, 1.0 to 2.2 in bfloat16 (medians of 7, interleaved, on a busy machine).
        """
        if stage == "fit":
            self.network.to(memory_format=torch.channels_last)
            begin_transfer(self.network, self.transfer)
            if self.transfer.mode in FREEZING:
                self.network.train()  # an earlier fit may have left batch norms in evaluation mode

    def on_train_start(self) -> None:
        """Note how long the run is, which schedules of loss weights need."""
        self._num_steps = max(1, int(self.trainer.estimated_stepping_batches))
        self._unchecked_loss: tuple[int, Tensor] | None = None

    def on_train_epoch_start(self) -> None:
        """Freeze what does not learn in this epoch; start the sums of loss, correct predictions, targets, steps."""
        if self.transfer.mode in FREEZING:
            set_trainable(self.network, self.transfer, self.current_epoch)
            hold_norms(self.network.train())
        self._sums = torch.zeros(4, device=self.device)

    def on_train_epoch_end(self) -> None:
        """Log the epoch's mean loss and accuracy of the training batches."""
        self._stop_unless_finite()
        loss, correct, labeled, steps = self._sums.unbind()
        self.log("train/loss", loss / steps, sync_dist=True)
        self.log("train/accuracy", correct / labeled.clamp(min=1), sync_dist=True)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the supervised loss of a batch ``(images, targets, ...)``."""
        images, targets, *_ = batch
        logits, auxiliary = self.forward_with_auxiliary(images)
        loss = with_auxiliary(lambda of: self.supervised_loss(of, targets), logits, auxiliary)
        self.track(loss, logits, targets)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Add a batch to the validation metrics."""
        self._evaluate(batch, "val")

    def on_validation_epoch_end(self) -> None:
        """Log ``val/*``."""
        self._log_evaluation("val")

    def test_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Add a batch to the test metrics; return the logits, which callbacks may look at."""
        return self._evaluate(batch, "test")

    def on_test_epoch_end(self) -> None:
        """Log ``test/*``."""
        self._log_evaluation("test")

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the class probabilities ``(N, K)`` or ``(N, K, H, W)``, in float32."""
        images, *_ = batch
        return self(images).float().softmax(dim=1)  # type: ignore[no-any-return]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer and the schedule stepped every batch."""
        num_steps = self.trainer.estimated_stepping_batches
        if num_steps == float("inf"):
            raise ValueError("max_epochs: got -1, expected a number, or max_steps: the schedule needs the run's length")
        return optimizers.configure(self.network, self.optimizer_settings, int(num_steps), self.transfer)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what is needed to build the network again."""
        spec = getattr(self.network, "spec", None)
        checkpoint["network"] = spec.as_plain() if spec is not None else None

    @property
    def monitor(self) -> str:
        """What the best epoch is chosen by, on validation; higher is better."""
        metrics = self._metrics_of("val")[0]
        return f"val/{getattr(metrics, 'measure', next(iter(metrics)))}"

    @property
    def progress(self) -> float:
        """How much of the training is done, from 0 at the first step to 1 after the last."""
        return self.global_step / self._num_steps

    def track(self, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        """Add a training batch to the epoch's sums, and log the step's loss on steps that are written.

        Raises:
            NonFiniteLossError: the loss is NaN or infinite.
        """
        loss = loss.detach()
        self._stop_unless_finite(loss)
        labels = hard_targets(targets) if targets.is_floating_point() else targets
        predicted = most_probable_classes(logits) if logits.ndim == 4 else logits.detach().argmax(dim=1)
        correct = (predicted == labels).sum()
        self._sums += torch.stack((loss, correct, known_targets(labels).sum(), torch.ones_like(loss)))
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (self.global_step + 1) % every == 0:
            self.log("train/loss_step", loss)

    def _stop_unless_finite(self, loss: Tensor | None = None) -> None:
        """Check the newest loss; on an accelerator the one before it, so as not to wait for the device."""
        due = self._unchecked_loss
        self._unchecked_loss = None if loss is None else (self.global_step, loss)
        if loss is not None and loss.device.type == "cpu":
            due, self._unchecked_loss = self._unchecked_loss, None
        if due is not None and not torch.isfinite(due[1]):
            raise NonFiniteLossError(
                f"the training loss is {due[1].item()} at step {due[0]}: training stopped; try a lower "
                f"optimizer.lr (it was {self.optimizer_settings.lr}), a warm-up, or trainer.gradient_clip_val"
            )

    def _evaluate(self, batch: Any, split: str) -> Tensor:
        images, targets, *_ = batch
        logits: Tensor = self(images)
        metrics, mean_loss = self._metrics_of(split)
        metrics.update(logits, targets)
        mean_loss.update(cross_entropy(logits, targets), weight=known_targets(targets).sum())
        return logits

    def _log_evaluation(self, split: str) -> None:
        metrics, mean_loss = self._metrics_of(split)
        values = {"loss": mean_loss.compute(), **metrics.compute()}
        self.log_dict({f"{split}/{name}": value.float() for name, value in values.items()}, sync_dist=True)
        metrics.reset()
        mean_loss.reset()

    def _metrics_of(self, split: str) -> tuple[MetricCollection, MeanMetric]:
        return cast(MetricCollection, self.metrics[split]), cast(MeanMetric, self.losses[split])


def hard_targets(targets: Tensor) -> Tensor:
    """Return the most probable class of soft targets ``(N, K)``, -1 where they are all zero."""
    largest, labels = targets.max(dim=1)
    return labels.masked_fill(largest == 0, -1)
