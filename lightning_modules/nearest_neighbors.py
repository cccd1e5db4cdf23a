"""The k-nearest-neighbour probe: how well a network's features tell the classes apart as they are."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.distributed
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor, nn

from lightning_modules.metrics import ClassificationMetrics
from lightning_modules.settings import require

MAX_SIMILARITIES = 2**24
"""Similarities held at once: 64 MiB in float32."""


class NearestNeighbors(nn.Module):
    """Classifies by a weighted vote of the most similar labelled samples (Wu et al. 2018, section 3.4).

        p(c) ~ sum over the k nearest i of class c of exp(s_i / T),  s_i the cosine similarity

    Memory is bounded: samples are compared with the bank a few at a time. Of neighbours that are equally similar at the
    k-th place, any may vote.

    Args:
        features: ``(B, D)`` of the bank.
        labels: ``(B,)`` int64 in ``0..K-1``.
        num_classes: classes ``K``.
        num_neighbors: neighbours that vote, at most ``B``; a smaller bank votes whole.
        temperature: T.

    Raises:
        ValueError: a number out of range, or a feature that is not finite.
    """

    features: Tensor
    labels: Tensor

    def __init__(
        self, features: Tensor, labels: Tensor, num_classes: int, *, num_neighbors: int = 200, temperature: float = 0.07
    ) -> None:
        super().__init__()
        require(num_neighbors >= 1, "knn_neighbors", num_neighbors, "1 or more neighbours")
        require(temperature > 0, "knn_temperature", temperature, "a temperature above 0, such as 0.07")
        require_finite(features)
        assert len(features) == len(labels) > 0, f"{len(features)} features, {len(labels)} labels"
        assert 0 <= int(labels.min()) <= int(labels.max()) < num_classes, "a label of the bank is no class"
        self.num_classes = num_classes
        self.num_neighbors = min(num_neighbors, len(labels))
        self.temperature = temperature
        self.register_buffer("features", F.normalize(features.float(), dim=1), persistent=False)
        self.register_buffer("labels", labels, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return the class probabilities ``(N, K)``, float32, of ``features (N, D)``."""
        num_at_once = max(1, MAX_SIMILARITIES // len(self.labels))
        return torch.cat([self._vote(chunk) for chunk in torch.split(features, num_at_once)])

    def _vote(self, features: Tensor) -> Tensor:
        require_finite(features)
        with torch.autocast(features.device.type, enabled=False):
            similarities = F.normalize(features.float(), dim=1) @ self.features.T
        nearest = similarities.topk(self.num_neighbors, dim=1)
        weights = (nearest.values / self.temperature).softmax(dim=1)
        votes = weights.new_zeros(len(features), self.num_classes)
        return votes.scatter_add_(1, self.labels[nearest.indices], weights)


def require_finite(features: Tensor) -> None:
    """Raise a ``ValueError`` where features are not numbers: a diverged network has no neighbours."""
    if not torch.isfinite(features).all():
        raise ValueError(
            "knn: got features that are infinite or not a number, expected finite ones; the network's training has "
            "diverged, or the precision is too low: evaluate another checkpoint, or with trainer.precision 32-true"
        )


class FeatureBatch(NamedTuple):
    """Features ``(N, D)`` of labelled samples, their targets ``(N,)`` and ids ``(N,)``."""

    features: Tensor
    targets: Tensor
    ids: Tensor


class NearestNeighborProbe(LightningModule):
    """Evaluates a frozen network by the nearest neighbours of its features in a bank of labelled samples.

    First ``remember(trainer.predict(probe, bank))``, then ``trainer.validate`` and ``trainer.test``, which log
    ``val/knn_accuracy`` and ``test/knn_accuracy``. With several processes each computes its share of the bank, and
    every one of them then holds all of it.

    Args:
        network: has ``features(images) -> (N, D)``.
        num_classes: classes ``K``.
        num_neighbors: see ``NearestNeighbors``.
        temperature: likewise.
    """

    def __init__(
        self, network: nn.Module, num_classes: int, *, num_neighbors: int = 200, temperature: float = 0.07
    ) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.num_classes = num_classes
        self.num_neighbors = num_neighbors
        self.temperature = temperature
        self.neighbors: NearestNeighbors | None = None
        self.metrics = nn.ModuleDict({split: ClassificationMetrics(num_classes) for split in ("val", "test")})

    @property
    def num_voting(self) -> int:
        """Neighbours that vote: as many as asked for, or the whole bank where it is smaller."""
        assert self.neighbors is not None, "remember() comes first: it depends on the bank"
        return self.neighbors.num_neighbors

    def forward(self, images: Tensor) -> Tensor:
        """Return the class probabilities ``(N, K)`` of ``images (N, C, H, W)`` in ``[0, 1]``."""
        assert self.neighbors is not None, "remember() comes before an evaluation"
        probabilities: Tensor = self.neighbors(self.features_of(images))
        return probabilities

    def features_of(self, images: Tensor) -> Tensor:
        """Return the features ``(N, D)`` of ``images (N, C, H, W)``, in float32."""
        features: Tensor = self.network.features(images)  # type: ignore[operator]
        return features.float()

    def predict_step(self, batch: Any, batch_idx: int) -> FeatureBatch:
        """Return the features of a batch of the bank, with its targets and ids."""
        images, targets, ids = batch
        return FeatureBatch(self.features_of(images), targets, ids)

    def remember(self, batches: Sequence[FeatureBatch]) -> None:
        """Make the bank of what ``predict_step`` returned on all processes, in the order of the ids."""
        own = FeatureBatch(*(torch.cat(parts).cpu() for parts in zip(*batches, strict=True)))
        shares = gather(own)
        features, targets, ids = (torch.cat(parts) for parts in zip(*shares, strict=True))
        order = ids.argsort()
        self.neighbors = NearestNeighbors(
            features[order],
            targets[order],
            self.num_classes,
            num_neighbors=self.num_neighbors,
            temperature=self.temperature,
        )

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Add a batch to the validation metrics."""
        self._evaluate(batch, "val")

    def on_validation_epoch_end(self) -> None:
        """Log ``val/knn_accuracy``."""
        self._log_evaluation("val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Add a batch to the test metrics."""
        self._evaluate(batch, "test")

    def on_test_epoch_end(self) -> None:
        """Log ``test/knn_accuracy``."""
        self._log_evaluation("test")

    def _evaluate(self, batch: Any, split: str) -> None:
        images, targets, *_ = batch
        self._metrics_of(split).update(self(images), targets)

    def _log_evaluation(self, split: str) -> None:
        metrics = self._metrics_of(split)
        self.log(f"{split}/knn_accuracy", metrics.compute()["accuracy"].float(), sync_dist=True)
        metrics.reset()

    def _metrics_of(self, split: str) -> ClassificationMetrics:
        return cast(ClassificationMetrics, self.metrics[split])


def gather(own: FeatureBatch) -> list[FeatureBatch]:
    """Return the shares of all processes, of whatever lengths; without others, this one's."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [own]
    shares: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(shares, own)
    return shares
