"""Weights & Biases: one run a stage, one group a pipeline."""

import os
import socket
import sys
from importlib.util import find_spec
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

from lightning.pytorch.loggers import Logger, WandbLogger

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


def create_wandb_logger(
    mode: Mode, *, run_directory: Path, run_name: str, stage: str, run_id: str, config: dict[str, Any]
) -> Logger | None:
    """Return the logger of one stage's W&B run, ``None`` where tracking is off.

    The id is fixed, so that a resumed stage goes on in the run it began.
    """
    if mode == "off":
        return None
    import wandb

    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "teacher-student-lightning"),
        name=f"{run_name}/{stage}",
        group=run_name,
        job_type=stage,
        id=run_id,
        resume="allow" if mode == "online" else None,
        mode=mode,
        dir=str(run_directory),
        config=config,
        settings=wandb.Settings(init_timeout=15, silent=True, console="off"),
    )
    return WandbLogger(experiment=run)


def finish_wandb() -> None:
    """Close the current W&B run, so that the next stage does not join it."""
    if "wandb" not in sys.modules:
        return
    import wandb

    if wandb.run is not None:
        wandb.finish()
