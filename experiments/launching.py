"""Commands of this project in processes of their own, several at a time."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from experiments.locking import try_lock

POLL_SECONDS = 0.05
STOP_SECONDS = 30.0
"""How long a command has to end by itself before it is killed."""


@dataclass(frozen=True)
class Launch:
    """A command to be run.

    Attributes:
        name: what it is called where several run.
        arguments: what follows ``python -m experiments``.
        log: file to whose end everything goes that it says.
    """

    name: str
    arguments: Sequence[str]
    log: Path


def start(launch: Launch, jobs: int = 1) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, so that an interrupt at the keyboard reaches us alone.

    Args:
        launch: the command.
        jobs: how many commands share the processor's cores, where ``OMP_NUM_THREADS`` does not say the threads.
    """
    threads = {} if jobs == 1 else {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // jobs))}
    command = [sys.executable, "-m", "experiments", *launch.arguments]
    launch.log.parent.mkdir(parents=True, exist_ok=True)
    with launch.log.open("ab") as log:
        try_lock(log)  # which the command inherits: whoever finds it free knows that the command has ended
        return subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=threads | os.environ, start_new_session=True
        )


def stop(*processes: subprocess.Popen[bytes]) -> None:
    """End commands with all their processes: all are asked to first, and killed where they do not."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.send_signal(signal.SIGTERM)
    for process in running:
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a command's session, such as processes that outlived the one that started them."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run_all(
    launches: Sequence[Launch], jobs: int = 1, ended: Callable[[Launch, int], None] = lambda launch, status: None
) -> dict[str, int]:
    """Run commands, ``jobs`` at a time, in their order; one that fails stops none of the others.

    Args:
        launches: the commands, of different names.
        jobs: how many run at a time.
        ended: called with each that ended, and its exit status.

    Returns:
        The exit status of each by name.
    """
    waiting, statuses = list(launches), {}
    running: dict[str, tuple[Launch, subprocess.Popen[bytes]]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                launch = waiting.pop(0)
                running[launch.name] = launch, start(launch, jobs)
            for launch, process in list(running.values()):
                if process.poll() is not None:
                    del running[launch.name]
                    end(process)
                    statuses[launch.name] = process.returncode
                    ended(launch, process.returncode)
            time.sleep(POLL_SECONDS)
    finally:
        stop(*(process for _, process in running.values()))
    return statuses


def last_words(log: Path, num_lines: int = 3) -> str:
    """Return the last lines of a log that are not empty, in one line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " / ".join(lines[-num_lines:]) or "it said nothing"
