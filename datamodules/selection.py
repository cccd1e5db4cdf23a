"""Which pseudo-labels are taught, how often, and as what."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict, get_args

import torch
from torch import Tensor

from datamodules.pseudo_labels import PseudoLabels

Labels = Literal["soft", "hard"]


class Summary(TypedDict):
    """How many pseudo-labels were selected: plain numbers, for records.

    ``num_selected`` and ``per_class`` count samples, ``num_rows`` and ``rows_per_class`` their repetitions too. Of
    pseudo-masks the numbers of a class count pixels.
    """

    pool: int
    num_selected: int
    num_rows: int
    per_class: list[int]
    rows_per_class: list[int]


@dataclass(frozen=True)
class Selection:
    """The pseudo-labels that are taught, sorted by id; balancing may repeat a sample.

    Attributes:
        ids: ``(n,)`` int64.
        targets: ``(n,)`` int64 labels, or ``(n, K)`` float32 probabilities.
        confidences: ``(n,)`` float32.
        repeats: ``(n,)`` int64, how often the sample stands in a row before this one.
        copies: ``(n,)`` int64, how often the sample is selected in all.
        summary: counts.
    """

    ids: Tensor
    targets: Tensor
    confidences: Tensor
    repeats: Tensor
    copies: Tensor
    summary: Summary

    def __len__(self) -> int:
        return len(self.ids)


def select(
    table: PseudoLabels,
    *,
    confidence_threshold: float | Sequence[float] = 0.0,
    balance: bool = False,
    max_per_class: int | None = None,
    labels: Labels = "soft",
) -> Selection:
    """Return the pseudo-labels to teach.

    Balance follows Xie et al., "Self-training with Noisy Student improves ImageNet classification", CVPR 2020,
    section 3.1: of abundant classes the most confident samples are kept, those of scarce classes are repeated, until
    all classes have as many. Where that paper repeats at random, every sample is here repeated equally often, the
    most confident once more.

    Args:
        table: the teacher's pseudo-labels.
        confidence_threshold: least confidence, in 0..1; or one a class.
        balance: give all classes as many rows: ``max_per_class``, or the mean number of confident samples a class.
        max_per_class: most rows of a class, the most confident.
        labels: what targets are: the teacher's probabilities, or its most probable class.

    Raises:
        ValueError: an option is out of range, or leaves no sample, or one class, or under balance a class without.
    """
    require_options(labels, max_per_class)
    thresholds = class_thresholds(confidence_threshold, table.num_classes)
    confident = table.confidences >= thresholds[table.labels]
    counts = table.labels[confident].bincount(minlength=table.num_classes)
    available = f"{len(table)} pseudo-labels"
    require_classes(table.metadata.class_names, counts, confidence_threshold, available, table.confidences)
    if balance:
        require_all_classes(table.metadata.class_names, counts, confidence_threshold)
        rows_per_class = torch.full_like(counts, max_per_class or round(float(counts.double().mean())))
    else:
        rows_per_class = counts if max_per_class is None else counts.clamp(max=max_per_class)
    rows, repeats, copies = repeated_rows(table, confident, rows_per_class)
    return Selection(
        ids=table.ids[rows],
        targets=(table.probabilities if labels == "soft" else table.labels)[rows],
        confidences=table.confidences[rows],
        repeats=repeats,
        copies=copies,
        summary=summarize(table, rows, repeats),
    )


def repeated_rows(table: PseudoLabels, confident: Tensor, rows_per_class: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``(n,)`` rows of the table in ascending order, how often each stood before, and how often in all.

    Of each class these are the most confident rows; where there are too few, all are repeated in turn. Equal
    confidences go by id.
    """
    ranked = confident.nonzero().squeeze(1)
    ranked = ranked[table.confidences[ranked].argsort(descending=True, stable=True)]
    ranked = ranked[table.labels[ranked].argsort(stable=True)]  # by class, then confidence, then id
    labels = table.labels[ranked]
    counts = labels.bincount(minlength=len(rows_per_class))
    ranks = torch.arange(len(ranked)) - (counts.cumsum(0) - counts)[labels]
    wanted, available = rows_per_class[labels], counts[labels]
    copies = torch.zeros(len(table), dtype=torch.int64)
    copies[ranked] = wanted // available + (ranks < wanted % available)
    rows = torch.arange(len(table)).repeat_interleave(copies)
    starts = copies.cumsum(0) - copies
    return rows, torch.arange(len(rows)) - starts[rows], copies[rows]


def summarize(table: PseudoLabels, rows: Tensor, repeats: Tensor) -> Summary:
    """Return the counts of a selection of ``rows (n,)``."""
    samples = rows[repeats == 0]
    return Summary(
        pool=len(table),
        num_selected=len(samples),
        num_rows=len(rows),
        per_class=table.labels[samples].bincount(minlength=table.num_classes).tolist(),
        rows_per_class=table.labels[rows].bincount(minlength=table.num_classes).tolist(),
    )


def class_thresholds(confidence_threshold: float | Sequence[float], num_classes: int) -> Tensor:
    """Return ``(K,)`` float32 thresholds, rounded as confidences are.

    Raises:
        ValueError: there are not as many as classes, or one is not in 0..1.
    """
    given = confidence_threshold
    values = [given] * num_classes if isinstance(given, int | float) else list(given)
    if len(values) != num_classes:
        raise ValueError(
            f"confidence_threshold: got {len(values)} numbers, expected one, or one for each of the {num_classes} "
            "classes in their order"
        )
    for value in values:
        if not 0 <= value <= 1:
            raise ValueError(f"confidence_threshold: got {value}, expected a probability, 0 (keep all) to 1")
    return torch.tensor(values, dtype=torch.float32)


def require_options(labels: str, max_per_class: int | None) -> None:
    """Raise a ``ValueError`` unless both are possible."""
    if labels not in get_args(Labels):
        raise ValueError(f"labels: got {labels!r}, expected one of {', '.join(get_args(Labels))}")
    if max_per_class is not None and max_per_class < 1:
        raise ValueError(f"max_per_class: got {max_per_class}, expected 1 or more, or none for no limit")


def require_classes(
    class_names: Sequence[str],
    counts: Tensor,
    confidence_threshold: float | Sequence[float],
    available: str,
    confidences: Tensor,
) -> None:
    """Raise a ``ValueError`` if too few classes have confident pseudo-labels to learn from.

    Args:
        class_names: ``K`` names.
        counts: ``(K,)`` int64, confident ones of each class.
        confidence_threshold: as the user gave it.
        available: how many there are, and of what: "39 pseudo-labels".
        confidences: those that occur.
    """
    occurring = counts.nonzero().squeeze(1)
    option = f"confidence_threshold: got {confidence_threshold}"
    if len(occurring) == 0:
        largest = f", whose largest confidence is {float(confidences.max()):.4g}" if len(confidences) else ""
        raise ValueError(f"{option}, expected some of the {available} to reach it{largest}; lower it")
    if len(occurring) == 1:
        raise ValueError(
            f"{option}, which selects {int(counts.sum())} {available.split(maxsplit=1)[1]} of one class only, "
            f"{class_names[int(occurring)]}; expected two or more classes, lest the student learns to say that one; "
            "lower it, or train the teacher longer"
        )


def require_all_classes(
    class_names: Sequence[str], counts: Tensor, confidence_threshold: float | Sequence[float]
) -> None:
    """Raise a ``ValueError`` if a class has no confident pseudo-labels, ``counts (K,)``, that balance could repeat."""
    missing = [name for name, count in zip(class_names, counts.tolist(), strict=True) if count == 0]
    if missing:
        raise ValueError(
            f"balance: got true, expected a pseudo-label of every class at confidence_threshold "
            f"{confidence_threshold}, but {', '.join(missing[:5])} ({len(missing)} in all) have none to repeat; lower "
            "the threshold, for those classes alone if need be, or leave balance out"
        )
