"""Some of a source's classes, as a source of its own."""

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from datamodules.sources.source import PixelArray, Samples, Source
from datamodules.sources.statistics import channel_statistics

MIN_CLASSES = 2


def select_classes(source: Source, classes: Sequence[int | str]) -> Source:
    """Return the samples of some classes, which become classes ``0..n-1`` in the order given.

    Samples keep their ids and their splits. Unlabelled samples stay, all of them: nobody knows their class. Mean and
    standard deviation are those of the training pixels that remain, where these lie in memory; files are not decoded
    again for it. The fingerprint is another one, since names, ids and targets enter it.

    Args:
        source: any source.
        classes: names, or indices in the source's own order; see ``find_class``.

    Raises:
        ValueError: a class is unknown or named twice, there are fewer than two, a split has no sample of them, or the
            source's targets are masks.
    """
    if source.train.masks is not None:
        raise ValueError(
            f"data.classes: got {list(classes)!r}, expected null: a mask of {source.name} holds many classes, and an "
            "image cannot be left out for one of them"
        )
    chosen = [find_class(source, name) for name in classes]
    require_distinct(source, chosen, classes)
    new_targets = torch.full((source.num_classes,), -1)
    new_targets[torch.tensor(chosen)] = torch.arange(len(chosen))
    splits: dict[str, Any] = {
        name: keep_classes(split, new_targets, f"{source.name}, split {name!r}", classes)
        for name in ("train", "test", "validation", "unlabeled")
        if (split := getattr(source, name)) is not None
    }
    subset = replace(source, class_names=tuple(source.class_names[label] for label in chosen), **splits)
    if not isinstance(subset.train.reader, PixelArray):
        return subset
    mean, std = channel_statistics(subset.train)
    return replace(subset, mean=mean, std=std)


def find_class(source: Source, name: int | str) -> int:
    """Return the index of a class in the source's own order.

    A number is the class of that name, where there is one, as in folders named ``10, 2, 7``; else it is an index.

    Raises:
        ValueError: offering the nearest names, if there is none of that name or index.
    """
    if not isinstance(name, bool):
        if str(name) in source.class_names:
            return source.class_names.index(str(name))
        if str(name).isdecimal() and int(name) < source.num_classes:
            return int(name)
    nearest = difflib.get_close_matches(str(name), source.class_names)
    offer = f"did you mean {' or '.join(map(repr, nearest))}? " if nearest else ""
    few = ", ".join(source.class_names[:10]) + (", ..." if source.num_classes > 10 else "")
    raise ValueError(
        f"data.classes: got {name!r}, expected an index in 0..{source.num_classes - 1} or a class name of "
        f"{source.name}; {offer}its classes are {few}"
    )


def require_distinct(source: Source, chosen: list[int], given: Sequence[int | str]) -> None:
    """Raise a ``ValueError`` unless there are at least two classes and none occurs twice."""
    if len(chosen) < MIN_CLASSES:
        raise ValueError(
            f"data.classes: got {list(given)!r}, expected at least {MIN_CLASSES} classes, such as 0,1; leave it out "
            f"to keep all {source.num_classes} of {source.name}"
        )
    twice = [label for label, count in Counter(chosen).items() if count > 1]
    if twice:
        raise ValueError(
            f"data.classes: got {list(given)!r}, expected each class once: class {twice[0]} "
            f"({source.class_names[twice[0]]!r}) is named {Counter(chosen)[twice[0]]} times; name it once"
        )


def keep_classes(samples: Samples, new_targets: Tensor, what: str, given: Sequence[int | str]) -> Samples:
    """Return the samples of the classes whose new target is not -1, relabelled, and those without a label.

    Args:
        samples: of one split.
        new_targets: ``(K,)`` int64, the new target of each class, -1 where it is left out.
        what: the split, as an error names it.
        given: the classes as the user named them.

    Raises:
        ValueError: nothing remains.
    """
    is_unlabeled = samples.targets < 0
    targets = torch.where(is_unlabeled, -1, new_targets[samples.targets.clamp(min=0)])
    kept = ((targets >= 0) | is_unlabeled).nonzero().squeeze(1)
    if len(kept) == 0:
        raise ValueError(
            f"data.classes: got {list(given)!r}, expected classes that every split has: {what} has no sample of them"
        )
    return replace(samples.select(kept), targets=targets[kept])
