"""A self-training loop killed at random moments: does it end as one that nobody disturbed?

The loop runs once to its end. Then it runs in other directories, is killed with signal 9 at a moment drawn evenly from
the first stage's beginning to the end of the undisturbed run, begun again by the same command, killed again, until it
ends before the next moment; then the next directory begins, until there were enough kills. In the end all tables have
the same bytes and all networks the same weights. A stage that is killed within an epoch goes on from the last one.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from experiments.files import file_digest, read_json, write_atomically
from experiments.run import plain
from experiments.studies.settings import InterruptionsStudy
from lightning_modules.checkpoints import load_network
from lightning_modules.teacher import state_digest

POLL_SECONDS = 0.01
UNDISTURBED = "undisturbed"


def run(study: InterruptionsStudy) -> dict[str, Any]:
    """Kill and compare; print a line a kill and a line a loop, return what differs, by loop.

    Raises:
        ValueError: the study's directory is there already.
        RuntimeError: a loop failed by itself, or ended with other tables or weights.
    """
    directory = Path(study.output) / (study.name or "interruptions")
    if directory.exists():
        raise ValueError(f"name: {directory} is there already; delete it, or give the study another --name")
    loops = Loops(study, directory)
    beginning, end = loops.run_undisturbed()
    print(f"{UNDISTURBED}: first stage after {beginning:.1f} s, end after {end:.1f} s", flush=True)
    expected = fingerprints(directory / UNDISTURBED)
    moments = draw_moments(study, beginning, end)
    differing: dict[str, list[str]] = {}
    while moments:
        name = f"killed_{len(differing) + 1}"
        num_kills = loops.run_killed(name, moments)
        differing[name] = differences(expected, fingerprints(directory / name))
        verdict = f"differs: {', '.join(differing[name])}" if differing[name] else f"the same {len(expected)} digests"
        print(f"{name}: ended after {num_kills} kills, {verdict}", flush=True)
    worse = [name for name, found in differing.items() if found]
    if worse:
        raise RuntimeError(f"{', '.join(worse)} ended otherwise than {UNDISTURBED}; see {directory}")
    return differing


def draw_moments(study: InterruptionsStudy, beginning: float, end: float) -> list[float]:
    """Return the moments of the kills, in seconds from the start of a process, from the seed of the study."""
    generator = random.Random(study.kill_seed)
    return [generator.uniform(beginning, end) for _ in range(study.num_kills)]


class Loops:
    """Runs of the same loop, each in a directory of its own, with what they say in a file beside it.

    Args:
        study: what the user set.
        directory: of all of them.
    """

    def __init__(self, study: InterruptionsStudy, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True)
        write_atomically(directory / "loop.yaml", yaml.safe_dump(plain(study.loop), sort_keys=False))
        self.num_kills = 0

    def run_undisturbed(self) -> tuple[float, float]:
        """Run the loop to its end; return after how many seconds its first stage began and it ended."""
        start, beginning = time.monotonic(), None
        with self.running(UNDISTURBED) as process:
            while process.poll() is None:
                if beginning is None and any((self.directory / UNDISTURBED).glob("stages/*/settings.json")):
                    beginning = time.monotonic() - start
                time.sleep(POLL_SECONDS)
        self.require_success(UNDISTURBED, process.returncode)
        end = time.monotonic() - start
        return (end if beginning is None else beginning), end

    def run_killed(self, name: str, moments: list[float]) -> int:
        """Run the loop until it ends, killed at the moments, which are used up; return the number of kills."""
        num_kills = 0
        while True:
            with self.running(name) as process, suppress(subprocess.TimeoutExpired):
                process.wait(timeout=moments[0] if moments else None)
            if process.returncode != -signal.SIGKILL:
                self.require_success(name, process.returncode)
                return num_kills
            num_kills, self.num_kills = num_kills + 1, self.num_kills + 1
            where = stage_of(self.directory / name)
            print(f"kill {self.num_kills}: {name} after {moments.pop(0):.1f} s, {where}", flush=True)

    @contextmanager
    def running(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start the loop, or go on with it; on leaving, kill what still runs of it."""
        options = ["--config", self.directory / "loop.yaml", "--output", self.directory, "--name", name]
        command = [sys.executable, "-m", "experiments", "self-train", *map(str, options)]
        with (self.directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def require_success(self, name: str, status: int) -> None:
        """Raise a ``RuntimeError`` with the loop's last words unless its exit status is 0."""
        if status:
            log = self.directory / f"{name}.log"
            last = (log.read_text(errors="replace").strip().splitlines() or [""])[-1]
            raise RuntimeError(f"{name} failed with exit status {status}: {last[:500]} (all of it in {log})")


def stage_of(run_directory: Path) -> str:
    """Return in which stage a killed run was, or after which one."""
    stages = sorted(run_directory.glob("stages/*/settings.json"), key=lambda path: number_of(path.parent))
    if not stages:
        return "before the first stage"
    name = stages[-1].parent.name.partition("-")[2]
    return f"{'after' if (stages[-1].parent / 'stage.json').exists() else 'in'} {name}"


def number_of(stage: Path) -> int:
    """Return the number that a stage's directory begins with."""
    return int(stage.name.partition("-")[0])


def fingerprints(run_directory: Path) -> dict[str, str]:
    """Return the SHA-256 of every pseudo-label table and of the weights that every stage ended with."""
    results = read_json(run_directory / "results.json")
    assert results is not None, "a loop that ended has results"
    tables = sorted((run_directory / "pseudo_labels").glob("*.parquet"))
    found = {f"table of {path.stem}": file_digest(path) for path in tables}
    for name, record in results["stages"].items():
        if record.get("checkpoint"):
            found[f"weights of {name}"] = state_digest(load_network(run_directory / record["checkpoint"]))
    return found


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """Return the names of what is not the same in both."""
    return [name for name in sorted(expected.keys() | found.keys()) if expected.get(name) != found.get(name)]
