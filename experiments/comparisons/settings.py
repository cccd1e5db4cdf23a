"""What a user may set about a comparison, as the command line and YAML files have it. No torch here."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from experiments.studies.settings import require_distinct
from experiments.sweeps.settings import STAGES
from lightning_modules.settings import require


@dataclass(frozen=True, kw_only=True)
class CompareCommand:
    """Run a command with several seeds and settings; print means, intervals and paired differences.

    Each setting with each seed is a run of its own in the comparison's directory. Runs that are done are not done
    again, interrupted ones go on.

    Args:
        name: directory of the comparison, below ``output``.
        output: directory of all runs.
        wandb: of every run; ``auto`` is online with a key and a network, else offline.
        command: what is run.
        experiment: YAML file of that command, which all settings begin with; null begins with its defaults.
        seeds: of the runs, ``0,1,2`` or a list.
        settings: what is other in each setting: a mapping of names to options, nested as in ``experiment``; empty:
            one setting, that of ``experiment``.
        jobs: runs at a time.
        baseline: ``STAGE``, with which every other stage of its setting is compared, or ``SETTING/STAGE``, with which
            every other row is; null: ``student_alone`` with the distilled student, the better supervised baseline with
            the last student of self-training, and the end of the first setting with those of the others.
    """

    name: str = "compare"
    output: str = "runs"
    wandb: Literal["auto", "online", "offline", "off"] = "auto"
    command: Literal["train", "segment", "distill", "self-train", "evaluate"] = "distill"
    experiment: str | None = None
    seeds: list[int] | str = field(default_factory=lambda: [0, 1, 2, 3, 4])
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs: int = 1
    baseline: str | None = None

    def __post_init__(self) -> None:
        is_name = self.name not in ("", ".", "..") and "/" not in self.name
        require(is_name, "name", self.name, "a directory name without '/'; --output says where it lies")
        if isinstance(self.seeds, str):
            object.__setattr__(self, "seeds", split_seeds(self.seeds))
        require_distinct("seeds", self.seeds)
        require(self.jobs >= 1, "jobs", self.jobs, "1 or more")
        for setting in self.settings:
            is_plain = re.fullmatch(r"\w[\w.=+-]*", setting) is not None
            require(is_plain, "settings", setting, "names of letters, digits and any of _ . = + -, such as warm")
        stage = (self.baseline or "").rpartition("/")[2]
        stages = "evaluate" if self.command == "evaluate" else STAGES[self.command]
        is_stage = self.baseline is None or re.fullmatch(f"{stages}|baseline|final", stage) is not None
        require(is_stage, "baseline", self.baseline, f"a stage of {self.command}, {stages.replace('|', ', ')}")
        if self.baseline is not None and "/" in self.baseline:
            known = [f"{setting}/STAGE" for setting in self.options_of_settings]
            is_known = self.baseline.rpartition("/")[0] in self.options_of_settings
            require(is_known, "baseline", self.baseline, f"STAGE, or one of {', '.join(known)}")

    @property
    def options_of_settings(self) -> dict[str, dict[str, Any]]:
        """What is other in each setting, by its name; where none is named, one is, after ``experiment``."""
        return self.settings or {Path(self.experiment or "default").stem: {}}


def split_seeds(text: str) -> list[int]:
    """Return the seeds of ``0,1,2``.

    Raises:
        ValueError: the text has something else in it.
    """
    is_list = re.fullmatch(r"\d+( *, *\d+)*", text.strip()) is not None
    require(is_list, "seeds", text, "whole numbers with commas between them, such as 0,1,2")
    return [int(seed) for seed in text.split(",")]
