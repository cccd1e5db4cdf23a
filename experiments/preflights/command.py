"""Preflight of a distillation: measures teacher and student, and answers after a short paired run."""

import dataclasses
import time
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from datamodules.batch import unit_interval
from datamodules.sources.source import Samples
from experiments.building import build_source
from experiments.building_networks import build_network
from experiments.distill import Distillation
from experiments.files import write_atomically, write_json
from experiments.guard import compare_networks
from experiments.latency import measure_latency
from experiments.preflights.assessment import Assessment, affordable, assess, some_of
from experiments.preflights.forecast import forecast, memory
from experiments.preflights.report import as_markdown, print_page
from experiments.preflights.runs import STUDENTS, ShortRuns, run_students, total_batches
from experiments.preflights.settings import PreflightCommand
from experiments.preflights.verdict import Facts, conclude
from experiments.records import describe_device
from experiments.run import Run
from experiments.stage import Record
from experiments.supervised import build_teacher
from experiments.training import Fitting
from lightning_modules.networks import count_parameters
from lightning_modules.weights import read_file

MEASURING_SHARE = 0.25
"""Share of the time in which the teacher is measured; where it does not suffice, on fewer images."""
PASSES = 3
"""How often it is given as many images as there are for validation: these twice, and training images."""


def run(command: PreflightCommand) -> Facts:
    """Measure, conclude, write ``preflight.json`` and ``preflight.md``, print the page, return what they hold."""
    deadline = time.perf_counter() + command.seconds
    one_process = dataclasses.replace(command.trainer, devices=1, num_nodes=1, strategy="auto")
    name = command.name or "preflight"
    command = dataclasses.replace(command, name=name, wandb="off", trainer=one_process)
    # The directory is that of the run which this one is about: what distill would refuse is refused here.
    pipeline = Run("distill", command)
    facts = Preflight(command, Distillation(command, build_source(command.data), pipeline), deadline).run()
    if pipeline.is_main:
        write_json(pipeline.directory / "preflight.json", facts)
        write_atomically(pipeline.directory / "preflight.md", as_markdown(facts))
        print_page(facts)
        print(pipeline.directory / "preflight.md")
    return facts


class Preflight:
    """What is measured of a distillation.

    Args:
        command: what the user set.
        whole: the pipeline as it would be run.
        deadline: of ``time.perf_counter``.
    """

    def __init__(self, command: PreflightCommand, whole: Distillation, deadline: float) -> None:
        self.command = command
        self.whole = whole
        self.deadline = deadline
        self.labeled = whole.labeled
        self.device = Fitting(whole.pipeline).device(command.trainer)
        self.teacher = build_teacher(command.teacher, whole.source, command.seed).to(self.device)
        self.student = build_network(command.student, whole.source, command.seed, option="student").to(self.device)
        seconds = MEASURING_SHARE * max(0.0, self.left) / PASSES
        batch = whole.task, self.device, self.labeled.eval_batch_size
        self.num_images = affordable(self.teacher, self.labeled.validation, *batch, seconds)
        self.validation = some_of(self.labeled.validation, self.num_images, command.seed)

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.perf_counter()

    def run(self) -> Facts:
        """Do all that there is time for; return the facts with their verdict."""
        self.whole.pipeline.say(f"teacher and student: {len(self.validation):,} validation images")
        training = some_of(self.labeled.train, self.num_images, self.command.seed)
        found = {
            "teacher": self._assess(self.teacher, self.validation),
            "teacher_on_training": self._assess(self.teacher, training),
            "student_at_start": self._assess(self.student, self.validation),
        }
        latencies = {"teacher": self._latency(self.teacher), "student": self._latency(self.student)}
        afterwards = found["teacher"].seconds + 6 * found["student_at_start"].seconds
        students = run_students(self.whole, self.deadline, afterwards)
        for name, record in (students.runs or {}).items():
            found[name] = self._assess(record["network"], self.validation)
        facts = (
            self._describe(found, latencies, len(training)) | self._compare(students) | self._forecast(students, found)
        )
        facts["verdict"] = conclude(facts)
        facts["seconds"] = round(self.command.seconds - self.left, 1)
        return facts

    def _assess(self, network: nn.Module, samples: Samples) -> Assessment:
        return assess(network, samples, self.whole.task, self.device, self.labeled.eval_batch_size)

    def _latency(self, network: nn.Module) -> float | None:
        """Return milliseconds for one image; ``None`` where the first cannot be read."""
        pixels, kept = self.validation.read(torch.zeros(1, dtype=torch.int64))
        return measure_latency(network, unit_interval(pixels.to(self.device))) if len(kept) else None

    def _describe(
        self, found: dict[str, Assessment], latencies: dict[str, float | None], num_training: int
    ) -> dict[str, Any]:
        """Return what was asked for, and what was found of every network."""
        command, labeled = self.command, self.labeled
        sizes = {"teacher": count_parameters(self.teacher), "student": count_parameters(self.student)}
        counts = found["teacher"].confusion.sum(dim=1).double()
        share = float(counts.max() / counts.sum())
        is_mask = labeled.targets_are_masks
        return {
            "command": "preflight",
            "name": command.name,
            "seed": command.seed,
            "versions": {name: version(name) for name in ("torch", "lightning")},
            "device": describe_device(self.device),
            "source": self.whole.source.name,
            "budget": command.seconds,
            "measure": self.whole.task.measure,
            "distillation": dataclasses.asdict(command.distillation),
            "validation": {"images": len(self.validation), "of": len(labeled.validation), "seen": self._seen()},
            "training_images": num_training,
            "pool": 0 if labeled.pool is None else len(labeled.pool),
            "chance": share / int((counts > 0).sum()) if is_mask else share,
            "capacity_ratio": sizes["teacher"] / sizes["student"],
            "networks": {
                name: {
                    "parameters": sizes[name.split("_")[0]],
                    "latency_ms": latencies[name.split("_")[0]],
                    "agreement": None if "teacher" in name else each.agreement(found["teacher"]),
                    **each.metrics,
                }
                for name, each in found.items()
            },
            "classes": describe_classes(self.whole.source.class_names, found),
        }

    def _seen(self) -> str:
        """Return whether the teacher may know the validation images: no, maybe, unknown."""
        checkpoint = self.command.teacher.checkpoint
        split = None if checkpoint is None else read_file(checkpoint).get("split")
        return "unknown" if split is None else "no" if split == self.labeled.split else "maybe"

    def _compare(self, students: ShortRuns) -> dict[str, Any]:
        """Return what the short runs came to: distilled less alone, and the teacher less the student alone."""
        of_all = total_batches(self.whole)
        if students.runs is None:
            run = {"batches": 0, "of": of_all, "reason": students.reason}
            return {"short_run": run, "gain": None, "lead": None}
        alone, distilled = (students.runs[name] for name in STUDENTS)
        samples = self.validation, self.device, self.labeled.eval_batch_size
        return {
            "short_run": {"batches": alone["batches"], "of": of_all, "reason": None},
            "gain": compare_networks(distilled["network"], alone["network"], *samples),
            "lead": compare_networks(self.teacher, alone["network"], *samples),
        }

    def _forecast(self, students: ShortRuns, found: dict[str, Assessment]) -> dict[str, Any]:
        """Return time and memory, as far as batches were trained."""
        records: dict[str, Record] = students.runs or students.pilots
        is_complete = len(records) == len(STUDENTS)
        return {
            "forecast": forecast(self.whole, records, found) if is_complete else None,
            "memory": memory(self.device, records),
        }


def describe_classes(names: tuple[str, ...], found: dict[str, Assessment]) -> list[dict[str, Any]]:
    """Return of each class its count and every network's score on validation, and the teacher's lead as ``headroom``.

    Scores are accuracies, of masks IoUs; ``None`` of classes that do not occur.
    """
    counts = found["teacher"].confusion.sum(dim=1).tolist()
    shown = [name for name in ("teacher", *STUDENTS) if name in found]
    scores = {name: found[name].class_scores.tolist() for name in shown}
    rows: list[dict[str, Any]] = []
    for index, name in enumerate(names):
        row = {network: None if not counts[index] else scores[network][index] for network in shown}
        both = [row.get("teacher"), row.get("student_alone")]
        headroom = None if None in both else both[0] - both[1]  # type: ignore[operator]
        rows.append({"name": name, "count": counts[index], **row, "headroom": headroom})
    return rows
