"""Weights & Biases: one run a stage, one group a pipeline."""

import os
import re
import socket
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

from lightning.pytorch.loggers import Logger, WandbLogger

from experiments.collecting import PredictionCollector
from experiments.stage import Stage
from experiments.tracked_outcome import log_checkpoints, outcome_of

DEFAULT_URL = "https://api.wandb.ai"
CONNECT_SECONDS = 3.0
Mode = Literal["online", "offline", "off"]


def resolve_mode(requested: str) -> tuple[Mode, str]:
    """Return how to track, and one line that says so and why.

    Raises:
        ValueError: tracking is asked for and cannot be had.
    """
    if requested == "off":
        return "off", "W&B: off"
    if find_spec("wandb") is None:
        if requested != "auto":
            raise ValueError(f"wandb: got {requested!r}, but the package is missing: pip install wandb, or --wandb off")
        return "off", "W&B: off, the package is not installed (pip install wandb)"
    asked = os.environ.get("WANDB_MODE", "")
    if requested == "auto" and asked in ("offline", "disabled"):
        return ("off" if asked == "disabled" else "offline"), f"W&B: {asked}, as WANDB_MODE says"
    if requested == "offline":
        return "offline", "W&B: offline"
    url = os.environ.get("WANDB_BASE_URL", DEFAULT_URL)
    obstacle = missing_for_online(url)
    if obstacle is None:
        return "online", f"W&B: online at {url}"
    if requested == "online":
        raise ValueError(f"wandb: got 'online', but {obstacle}; use --wandb offline, and 'wandb sync' later")
    return "offline", f"W&B: offline, {obstacle}"


def missing_for_online(url: str) -> str | None:
    """Return what stands in the way of tracking online, ``None`` if nothing does."""
    host = urlparse(url).hostname or url
    if not has_key(host):
        return "there is no API key (wandb login)"
    try:
        socket.create_connection((host, urlparse(url).port or 443), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        return f"{host} cannot be reached ({error})"
    return None


def has_key(host: str) -> bool:
    """Return whether an API key is set in the environment or in ``~/.netrc``."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    path = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    try:
        return path.is_file() and netrc(path).authenticators(host) is not None
    except NetrcParseError:
        return False


@dataclass(frozen=True)
class StageTracking:
    """Where a stage's W&B run goes.

    Attributes:
        mode: online, offline or off.
        run_directory: of the pipeline.
        run_name: of the pipeline, which is the group.
        stage: name of the stage, which is the job type.
        run_id: fixed, so that a resumed stage goes on in the run it began.
        config: settings of the stage.
        checkpoints: whether checkpoints are artifacts.
    """

    mode: Mode
    run_directory: Path
    run_name: str
    stage: str
    run_id: str
    config: dict[str, Any]
    checkpoints: bool = True

    def start(self) -> Any:
        """Start or resume the run, unless it is going on, and return it; ``None`` where tracking is off."""
        if self.mode == "off":
            return None
        import wandb

        if wandb.run is not None and wandb.run.id == self.run_id:
            return wandb.run
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT", "teacher-student-lightning"),
            name=f"{self.run_name}/{self.stage}",
            group=self.run_name,
            job_type=self.stage,
            id=self.run_id,
            resume="allow" if self.mode == "online" else None,
            mode=self.mode,
            dir=str(self.run_directory),
            config=self.config,
            settings=wandb.Settings(init_timeout=15, silent=True, console="off"),
        )

    def logger(self, uses: str | None = None) -> Logger | None:
        """Return a logger of the run, ``None`` where tracking is off.

        Args:
            uses: the artifact that the stage learns from, ``NAME:ALIAS``, for the lineage.
        """
        run = self.start()
        if run is None:
            return None
        self._note_use(run, uses)
        return WandbLogger(experiment=run)

    def _note_use(self, run: Any, uses: str | None) -> None:
        if uses is not None:
            run.config.update({"uses_artifact": uses}, allow_val_change=True)
            if self.mode == "online":  # W&B has no lineage offline
                note_lineage(run, uses)

    def log_table(
        self, path: Path, numbers: dict[str, Any], alias: str, picture: Path, uses: str | None = None
    ) -> None:
        """Log a pseudo-label table as an artifact, what is known of it as the run's summary, and its picture.

        Args:
            path: the table.
            numbers: what is known of it.
            alias: of the artifact.
            picture: of the audit.
            uses: the artifact that made it, ``NAME:ALIAS``, for the lineage.
        """
        run = self.start()
        if run is None:
            return
        import wandb

        self._note_use(run, uses)
        artifact = wandb.Artifact(table_artifact(self.run_name, self.stage), type="pseudo-labels", metadata=numbers)
        artifact.add_file(str(path))
        run.log_artifact(artifact, aliases=["latest", alias])
        scalars = {name: value for name, value in numbers.items() if isinstance(value, int | float)}
        run.summary.update({f"pseudo_labels/{name}": value for name, value in scalars.items()})
        run.log({"pseudo_labels/audit": wandb.Image(str(picture))})
        finish_wandb()

    def log_outcome(
        self, stage: Stage, collector: PredictionCollector, summary: dict[str, float], metrics: dict[str, float]
    ) -> None:
        """Log what a finished fit reached: its summary, its test, its checkpoints.

        Args:
            stage: with the files that the collector wrote.
            collector: which saw the test.
            summary: what stands in W&B's table of runs beside the last value of every metric.
            metrics: of the best epoch, which its checkpoint carries.
        """
        run = self.start()
        if run is None:
            return
        run.summary.update(summary)
        run.log(outcome_of(stage.directory, collector))
        if self.checkpoints:
            name = model_artifact(self.run_name, self.stage)
            log_checkpoints(run, name, self.stage, stage.best_checkpoint, stage.last_checkpoint, metrics)


def note_lineage(run: Any, uses: str) -> None:
    """Tell W&B that a run learns from an artifact; that it has none, of a stage done offline, is said and no error."""
    import wandb

    try:
        run.use_artifact(uses)
    except (wandb.Error, ValueError) as error:
        print(f"W&B: no lineage from {uses} ({error})", flush=True)


def table_artifact(run_name: str, stage: str) -> str:
    """Return the name of the artifact of a stage's pseudo-labels, of the characters that W&B allows."""
    return re.sub(r"[^\w.-]", "-", f"{run_name}-{stage}")


def model_artifact(run_name: str, stage: str) -> str:
    """Return the name of the artifact of a stage's checkpoints."""
    return table_artifact(run_name, stage) + "-model"


def finish_wandb() -> None:
    """Close the current W&B run, so that the next stage does not join it."""
    if "wandb" not in sys.modules:
        return
    import wandb

    if wandb.run is not None:
        wandb.finish()
