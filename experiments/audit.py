"""The hidden-truth audit: how right pseudo-labels are, where the pool's true labels are known. No loss sees them."""

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
    columns = {
        "pool": count(table.labels, torch.ones_like(known)),
        "selected": count(table.labels, selected),
        "judged": count(table.labels, known),
        "right": count(table.labels, correct),
        "judged_selected": count(table.labels, known & selected),
        "right_selected": count(table.labels, correct & selected),
        "occurring": count(truth, known),
    }
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return [
        {
            "class": name,
            "pool": row["pool"],
            "selected": row["selected"],
            "accuracy": share(row["right"], row["judged"]),
            "accuracy_selected": share(row["right_selected"], row["judged_selected"]),
            "recall": share(row["right"], row["occurring"]),
        }
        for name, row in zip(table.metadata.class_names, rows, strict=True)
    ]


def share(part: float, whole: int) -> float | None:
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
    confidences = table.confidences[known].double()  # sums of a million in float32 are off by thousandths
    correct = (table.labels == truth)[known].double()
    borders = torch.linspace(0, 1, NUM_BINS + 1, dtype=torch.float64)
    bins = (torch.bucketize(confidences, borders, right=True) - 1).clamp(max=NUM_BINS - 1)  # 1 is in the last bin
    counts = bins.bincount(minlength=NUM_BINS).tolist()
    sums = [values.new_zeros(NUM_BINS).index_add(0, bins, values).tolist() for values in (confidences, correct)]
    return [
        {"count": count, "confidence": share(confidence, count), "accuracy": share(right, count)}
        for count, confidence, right in zip(counts, *sums, strict=True)
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
    names = previous.metadata.class_names
    if names != table.metadata.class_names:
        raise ValueError(
            f"previous: got a table of {len(names)} classes ({', '.join(names[:5])}), expected the "
            f"{table.num_classes} of this one in their order; start the loop anew where classes change"
        )
    common = torch.isin(table.ids, previous.ids)
    rows = torch.searchsorted(previous.ids, table.ids[common])
    return int((table.labels[common] != previous.labels[rows]).sum())
