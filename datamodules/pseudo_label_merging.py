"""Merging the shards of all processes into one pseudo-label table, verified sample by sample."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from datamodules.pseudo_label_columns import (
    TableMetadata,
    concatenate,
    open_table,
    read_pieces,
    require_schema,
    shard_schema,
)
from datamodules.pseudo_labels import PseudoLabels
from datamodules.pseudo_mask_files import MASKS, list_digests, mask_folder
from datamodules.sources.source import Samples

SHARD_NAME = re.compile(r"(\d{5})-of-(\d{5})\.parquet")
EXAMPLES = 3


@dataclass
class Collected:
    """The table while shards are read into it, in the order of ascending ids.

    Attributes:
        ids: ``(N,)`` int64, all that are expected, ascending.
        probabilities: ``(N, K)`` float32.
        counts: ``(N,)`` int64, how often each id has come.
        foreign: ids that are not expected.
    """

    ids: Tensor
    probabilities: Tensor
    counts: Tensor
    foreign: list[int]

    def add(self, ids: Tensor, probabilities: Tensor) -> None:
        """Put ``probabilities (n, K)`` in the rows of ``ids (n,)``."""
        rows = torch.searchsorted(self.ids, ids).clamp(max=len(self.ids) - 1)
        known = self.ids[rows] == ids
        self.probabilities[rows[known]] = probabilities[known]
        self.counts += rows[known].bincount(minlength=len(self.ids))
        self.foreign += ids[~known].tolist()


def merge_shards(shards: Path, path: Path, samples: Samples, *, max_missing: int = 0) -> PseudoLabels:
    """Make one table of all shards, write it to ``path`` and remove the shards; one process does this.

    The same predictions give the same bytes, whatever the number of processes and the order of the samples. The folder
    of pseudo-masks is named by their digest, so those of an earlier table stay until this one has taken its place.

    Args:
        shards: ``PseudoLabelWriter.shards``.
        path: the table.
        samples: the pool that was to be labelled; each must have come exactly once.
        max_missing: samples that may be missing because their files cannot be read (``--data.on_bad_image skip``).

    Raises:
        ValueError: a shard or a mask is missing or of another run, or ids are missing, duplicated or foreign. The
            shards then stay, and so does a table of that name from before.
    """
    metadata, pieces = read_shards(find_shards(shards))
    order = samples.ids.argsort()
    num_samples = len(samples)
    collected = Collected(
        samples.ids[order], torch.empty(num_samples, len(metadata.class_names)), torch.zeros_like(samples.ids), []
    )
    for ids, probabilities in pieces:
        collected.add(ids, probabilities)
    require_each_once(shards, collected, max_missing)
    found = collected.counts == 1
    complete = bool(found.all())
    table = PseudoLabels(
        collected.ids if complete else collected.ids[found],
        collected.probabilities if complete else collected.probabilities[found],
        metadata,
        samples.paths.select(order[found]) if samples.paths is not None else None,
    )
    if samples.masks is not None:
        table = keep_masks(table, shards, path)
    table.write(path)
    remove_obsolete(path, table.masks)
    return table


def keep_masks(table: PseudoLabels, shards: Path, path: Path) -> PseudoLabels:
    """Move the masks of a run beside the table that will be ``path``; return the table that names them.

    Raises:
        ValueError: a mask is missing.
    """
    digest = list_digests(shards / MASKS, table.ids)
    folder = mask_folder(path, digest)
    if folder.exists():  # the same masks were written before
        folder.rename(shards / "replaced")
    (shards / MASKS).rename(folder)
    return replace(table, metadata=replace(table.metadata, masks=digest), masks=folder)


def remove_obsolete(path: Path, masks: Path | None) -> None:
    """Remove the shards and pseudo-masks of a table, also those that killed runs have left, but for ``masks``."""
    name = re.escape(path.name)
    ours = re.compile(rf"\.{name}\.shards-.+|{name}\.{MASKS}-[0-9a-f]{{12}}(\..*)?")
    for obsolete in path.parent.iterdir():
        if ours.fullmatch(obsolete.name) and obsolete.is_dir() and obsolete != masks:
            shutil.rmtree(obsolete)


def find_shards(shards: Path) -> list[Path]:
    """Return the finished shards of all processes.

    Raises:
        ValueError: some are missing, or they are of runs with different numbers of processes.
    """
    found = {path: match for path in sorted(shards.glob("*")) if (match := SHARD_NAME.fullmatch(path.name))}
    numbers = sorted({int(match[2]) for match in found.values()})
    if len(numbers) > 1:
        raise ValueError(f"{shards}: shards of {' and of '.join(map(str, numbers))} processes; remove it and run again")
    missing = set(range(numbers[0] if numbers else 1)) - {int(match[1]) for match in found.values()}
    if missing:
        raise ValueError(
            f"{shards}: {len(found)} of {len(found) + len(missing)} processes finished their predictions, missing "
            f"that of process {', '.join(map(str, sorted(missing)))}; run the same command again"
        )
    return list(found)


def read_shards(paths: list[Path]) -> tuple[TableMetadata, Iterator[tuple[Tensor, Tensor]]]:
    """Return the metadata of the shards, and an iterator over ids ``(n,)`` and probabilities ``(n, K)``.

    Raises:
        ValueError: the metadata differ, or a shard is damaged.
    """
    described = {}
    for path in paths:
        with open_table(path) as file:
            described[path] = TableMetadata.of_schema(path, file.schema_arrow)
    first = described[paths[0]]
    for path, metadata in described.items():
        differing = [name for name in vars(first) if getattr(first, name) != getattr(metadata, name)]
        if differing:
            raise ValueError(
                f"{path}: its {' and '.join(differing)} differ from those of {paths[0].name}, expected shards of one "
                "run with one teacher; give all processes the same checkpoint and data, and run again"
            )
    return first, (piece for path in paths for piece in read_shard(path, first))


def read_shard(path: Path, metadata: TableMetadata) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield ids ``(n,)`` and probabilities ``(n, K)`` of one shard, a piece at a time."""
    with open_table(path) as file:
        require_schema(path, file.schema_arrow, shard_schema(metadata))
        for piece in read_pieces(path, file):
            flat = concatenate([piece], "probabilities")
            yield concatenate([piece], "id"), flat.view(-1, len(metadata.class_names))


def require_each_once(shards: Path, collected: Collected, max_missing: int) -> None:
    """Raise a ``ValueError`` unless every id came exactly once, apart from ``max_missing`` that did not come."""
    missing, duplicated = collected.ids[collected.counts == 0], collected.ids[collected.counts > 1]
    problems = [
        f"{len(ids)} {what} (such as {', '.join(map(str, ids[:EXAMPLES]))})"
        for what, ids, allowed in (
            ("missing", missing.tolist(), max_missing),
            ("duplicated", duplicated.tolist(), 0),
            ("foreign", collected.foreign, 0),
        )
        if len(ids) > allowed
    ]
    if problems:
        raise ValueError(
            f"{shards}: expected each of the pool's {len(collected.ids)} ids exactly once, but ids are: "
            f"{'; '.join(problems)}; predict with the datamodule's predict_dataloader, which neither pads nor "
            "repeats, over the pool of the same source and split seed"
        )
