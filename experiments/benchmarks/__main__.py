"""``python -m experiments.benchmarks [NAME ...]``: our code against its peers, interleaved in one process."""

import argparse
import importlib
import os
import platform

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.pairs import Comparison

BENCHMARKS = ("training_step", "augmentation", "folders", "labelling", "mean_iou", "memory", "muon")


def main() -> None:
    """Run the benchmarks that are named, or all, and print a row for each comparison."""
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; default all")
    names = parser.parse_args().names or BENCHMARKS
    for unknown in set(names) - set(BENCHMARKS):
        parser.error(f"unknown benchmark {unknown!r}, expected some of {', '.join(BENCHMARKS)}")
    for name in names:
        Console(width=120).print(create_table(importlib.import_module(f"experiments.benchmarks.{name}").run()))


def create_table(comparisons: list[Comparison]) -> Table:
    """Return one row a comparison: both times, the median of the speed-ups and their quartiles."""
    where = f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"
    table = Table(title=f"median of ratios, peer over ours ({where})", box=box.SIMPLE_HEAD)
    for heading in ("comparison", "ours, ms", "peer, ms", "speed-up", "quartiles", "pairs"):
        table.add_column(heading, justify="left" if heading == "comparison" else "right")
    for row in comparisons:
        lower, upper = row.quartiles
        times = (f"{1000 * seconds:,.2f}" for seconds in (row.ours_seconds, row.peer_seconds))
        table.add_row(row.name, *times, f"{row.speedup:.2f}×", f"{lower:.2f}–{upper:.2f}", str(len(row.speedups)))
    return table


if __name__ == "__main__":
    main()
