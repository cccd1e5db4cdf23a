"""The hidden-truth audit: how right pseudo-labels are, where the pool's true labels are known. No loss sees them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from datamodules.pseudo_labeled import find_rows
from datamodules.pseudo_labels import PseudoLabels
from datamodules.selection import Selection
from datamodules.sources.source import Samples

NUM_BINS = 15
"""Of confidence, as in Guo et al. 2017."""


def hidden_truth(samples: Samples, table: PseudoLabels) -> Tensor | None:
    """Return the true labels ``(N,)`` int64 of a table's samples, -1 where unknown; ``None`` if all are.

    Args:
        samples: the pool, in any order.
        table: its pseudo-labels.

    Raises:
        ValueError: the table has ids that the pool has not.
    """
    truth = samples.targets[find_rows("pseudo-label table", samples, table.ids)]
    return truth if bool((truth >= 0).any()) else None


def audit(
    table: PseudoLabels, selection: Selection, truth: Tensor | None, previous: PseudoLabels | None = None
) -> dict[str, Any]:
    """Return plain numbers for ``results.json``: counts, and shares in 0..1, ``None`` where there is nothing to count.

    ``accuracy`` is that of all pseudo-labels whose truth is known, ``accuracy_selected`` that of the selected ones,
    each sample counted once however often balance repeats it. Of a class, ``accuracy`` is the precision of its
    pseudo-labels, ``accuracy_selected`` that of the selected ones, and ``recall`` the share of the class's samples
    that got its label. ``calibration_error`` is the expected one over 15 bins (Guo et al. 2017), ``changed`` the
    number of labels that are not those of the previous table, ``reliability`` the bins.

    Args:
        table: pseudo-labels of the pool, ``N`` samples.
        selection: what is taught of them.
        truth: ``(N,)`` int64 in the table's order, -1 where unknown; ``None`` if all are.
        previous: the table of the round before.

    Raises:
        ValueError: the previous table has other classes.
    """
    truth = torch.full_like(table.labels, -1) if truth is None else truth
    assert truth.shape == table.labels.shape, f"truth of {len(truth)} samples for a table of {len(table)}"
    selected = torch.isin(table.ids, selection.ids)
    known, correct = truth >= 0, table.labels == truth
    reliability = reliability_bins(table, truth)
    return {
        "pool": len(table),
        "selected": int(selected.sum()),
        "selected_share": share(int(selected.sum()), len(table)),
        "accuracy": share(int(correct.sum()), int(known.sum())),
        "accuracy_selected": share(int((correct & selected).sum()), int((known & selected).sum())),
        "per_class": per_class(table, selected, truth),
        "calibration_error": None if reliability is None else calibration_error(reliability),
        "changed": None if previous is None else num_changed(table, previous),
        "reliability": reliability,
    }


def per_class(table: PseudoLabels, selected: Tensor, truth: Tensor) -> list[dict[str, Any]]:
    """Return the numbers of each class, in the order of the classes.

    Args:
        table: pseudo-labels, ``N`` samples.
        selected: ``(N,)`` bool.
        truth: ``(N,)`` int64, -1 where unknown.
    """

    def count(labels: Tensor, mask: Tensor) -> list[int]:
        counts: list[int] = labels[mask].bincount(minlength=table.num_classes).tolist()
        return counts

    known, correct = truth >= 0, table.labels == truth
    return class_rows(
        table.metadata.class_names,
        pool=count(table.labels, torch.ones_like(known)),
        selected=count(table.labels, selected),
        judged=count(table.labels, known),
        right=count(table.labels, correct),
        judged_selected=count(table.labels, known & selected),
        right_selected=count(table.labels, correct & selected),
        occurring=count(truth, known),
    )


def class_rows(class_names: Sequence[str], **counts: list[int]) -> list[dict[str, Any]]:
    """Return the numbers of each of ``K`` classes.

    Args:
        class_names: ``K`` names.
        counts: ``K`` each: pseudo-labels of the class in the ``pool`` and ``selected``; those of them ``judged``, whose
            truth is known, and ``right``, also as ``judged_selected`` and ``right_selected``; those truly
            ``occurring``.
    """
    rows = [dict(zip(counts, values, strict=True)) for values in zip(*counts.values(), strict=True)]
    return [
        {
            "class": name,
            "pool": row["pool"],
            "selected": row["selected"],
            "accuracy": share(row["right"], row["judged"]),
            "accuracy_selected": share(row["right_selected"], row["judged_selected"]),
            "recall": share(row["right"], row["occurring"]),
        }
        for name, row in zip(class_names, rows, strict=True)
    ]


def share(part: float, whole: float) -> float | None:
    """Return ``part / whole``, ``None`` of nothing."""
    return part / whole if whole else None


def reliability_bins(table: PseudoLabels, truth: Tensor) -> list[dict[str, Any]] | None:
    """Return how right pseudo-labels are beside how confident (Guo et al. 2017, section 2).

    Each of 15 bins of equal width over confidences of 0..1, in ascending order, has the ``count`` of its pseudo-labels,
    their mean ``confidence`` and their ``accuracy``, both in 0..1 and ``None`` in an empty bin.

    Args:
        table: pseudo-labels, ``N`` samples.
        truth: ``(N,)`` int64 in the table's order, -1 where unknown: those are left out.

    Returns:
        ``None`` if all are unknown.
    """
    known = truth >= 0
    if not known.any():
        return None
    right = (table.labels == truth)[known]
    return confidence_bins(table.confidences[known], torch.ones_like(right), right)


def confidence_bins(confidences: Tensor, counts: Tensor, right: Tensor) -> list[dict[str, Any]]:
    """Return the bins of ``reliability_bins``.

    Args:
        confidences: ``(M,)`` in 0..1.
        counts: ``(M,)``, how many pseudo-labels are so confident.
        right: ``(M,)``, how many of these are right.
    """
    confidences, counts, right = confidences.double(), counts.double(), right.double()  # float32 is off by thousandths
    borders = torch.linspace(0, 1, NUM_BINS + 1, dtype=torch.float64)
    bins = (torch.bucketize(confidences, borders, right=True) - 1).clamp(max=NUM_BINS - 1)  # 1 is in the last bin
    columns = (counts, confidences * counts, right)
    sums = [values.new_zeros(NUM_BINS).index_add(0, bins, values).tolist() for values in columns]
    return [
        {"count": int(count), "confidence": share(confidence, count), "accuracy": share(correct, count)}
        for count, confidence, correct in zip(*sums, strict=True)
    ]


def calibration_error(bins: list[dict[str, Any]]) -> float:
    """Return the expected calibration error in 0..1: ``sum_b |accuracy_b - confidence_b| count_b / N``.

    Args:
        bins: of ``reliability_bins``, not all of them empty.
    """
    gaps = [row["count"] * abs(row["accuracy"] - row["confidence"]) for row in bins if row["count"]]
    return float(sum(gaps) / sum(row["count"] for row in bins))


def num_changed(table: PseudoLabels, previous: PseudoLabels) -> int:
    """Return how many samples of both tables have another label than before.

    Raises:
        ValueError: the classes differ, so labels cannot be compared.
    """
    require_same_classes(table, previous)
    common = torch.isin(table.ids, previous.ids)
    rows = torch.searchsorted(previous.ids, table.ids[common])
    return int((table.labels[common] != previous.labels[rows]).sum())


def require_same_classes(table: PseudoLabels, previous: PseudoLabels) -> None:
    """Raise a ``ValueError`` unless the labels of two tables can be compared."""
    names = previous.metadata.class_names
    if names != table.metadata.class_names:
        raise ValueError(
            f"previous: got a table of {len(names)} classes ({', '.join(names[:5])}), expected the "
            f"{table.num_classes} of this one in their order; start the loop anew where classes change"
        )
