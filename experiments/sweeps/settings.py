"""What a user may set about a sweep, as the command line and YAML files have it. No torch here."""

import re
from dataclasses import dataclass
from typing import Literal

from experiments.sweeps.space import ParameterSpace, require_space
from lightning_modules.settings import require

Swept = Literal["train", "segment", "distill", "self-train"]
"""The commands that can be swept: those that train."""

STAGES: dict[Swept, str] = {
    "train": "train",
    "segment": "train",
    "distill": "teacher|student_alone|student_distilled|student_all_labels",
    "self-train": r"round_\d+|finetuned|supervised|supervised_noised|supervised_all_labels",
}
"""The stages of each command that are validated, as a regular expression."""

METRICS = {
    "train": {"loss", "accuracy", "accuracy_top5", "f1", "calibration_error"},
    "segment": {"loss", "accuracy", "mean_iou", "boundary_f1"},
}
"""What is measured of classes, and of masks."""


@dataclass(frozen=True, kw_only=True)
class SweepCommand:
    """Search a command's options for the best on validation: trials in processes, the hopeless ones ended early.

    Needs the extra ``sweep``. Run again, it goes on: finished trials stand in sweep.db, the interrupted ones resume.

    Args:
        command: what a trial runs.
        parameters: the options that are searched, each with its ``values``, or its ``low`` and ``high``.
        experiment: YAML file of the other options of the command.
        name: directory of the sweep, below ``output``; a trial's is trial-NUMBER in it.
        output: directory of all runs.
        metric: of validation, that is to be as large as possible, of losses and calibration errors as small.
        stage: whose metric it is; null follows the students whose network the run ends with.
        method: ``tpe`` learns from earlier trials (Bergstra et al. 2011), ``random`` does not, ``grid`` takes every
            combination of ``values``, in order.
        num_trials: in all, those of earlier calls among them; a grid ends with its last combination.
        jobs: trials at a time.
        seed: of the search; each trial's own seed is an option as any other.
        pruner: ends a trial that is worse than the ``median`` of the earlier ones was after as many epochs, or by
            successive halving (``hyperband``, Li et al. 2018).
        warmup_epochs: validations of a trial before it may be pruned.
        startup_trials: of median: trials that end before any is pruned.
        wandb: of the trials; ``auto`` is online with a key and a network, else offline.
    """

    command: Swept
    parameters: dict[str, ParameterSpace]
    experiment: str | None = None
    name: str = "sweep"
    output: str = "runs"
    metric: str = "val/accuracy"
    stage: str | None = None
    method: Literal["tpe", "random", "grid"] = "tpe"
    num_trials: int = 20
    jobs: int = 1
    seed: int = 0
    pruner: Literal["median", "hyperband", "none"] = "median"
    warmup_epochs: int = 5
    startup_trials: int = 5
    wandb: Literal["auto", "online", "offline", "off"] = "auto"

    def __post_init__(self) -> None:
        is_name = self.name not in ("", ".", "..") and "/" not in self.name
        require(is_name, "name", self.name, "a directory name without '/'; --output says where it lies")
        for option in ("num_trials", "jobs", "warmup_epochs", "startup_trials"):
            require(getattr(self, option) >= 1, option, getattr(self, option), "1 or more")
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        expected = "a metric of validation, such as val/accuracy: a split that chose the settings tests them no more"
        require(self.metric.startswith("val/"), "metric", self.metric, expected)
        known = METRICS["segment"] if self.command == "segment" else METRICS["segment"] | METRICS["train"]
        is_known = self.metric.removeprefix("val/") in known
        require(is_known, "metric", self.metric, f"one of {', '.join(f'val/{name}' for name in sorted(known))}")
        of_command = STAGES[self.command]
        is_stage = self.stage is None or re.fullmatch(of_command, self.stage) is not None
        require(is_stage, "stage", self.stage, f"null or a stage of {self.command}: {of_command}")
        require(len(self.parameters) > 0, "parameters", self.parameters, "one option or more, such as optimizer.lr")
        for option, space in self.parameters.items():
            require_space(f"parameters.{option}", space)
            is_in_grid = self.method != "grid" or space.values is not None
            require(is_in_grid, f"parameters.{option}.values", space.values, "a list, as method=grid needs; or tpe")

    @property
    def minimizes(self) -> bool:
        """Whether the metric is to be small."""
        return self.metric.endswith(("loss", "error"))

    def options(self, chosen: dict[str, str]) -> list[str]:
        """Return the options, as they are typed after the command, of the experiment with what was chosen."""
        experiment = [] if self.experiment is None else ["--config", self.experiment]
        return [*experiment, *(f"--{option}={text}" for option, text in chosen.items())]
