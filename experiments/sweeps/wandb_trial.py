"""``python -m experiments.sweeps.wandb_trial COMMAND ...``: a trial of a W&B sweep, as ``wandb agent`` starts it.

An agent gives its trial one W&B run, while a pipeline has one a stage, each of which would join the trial's. So the
trial's run, with the sweep's options and the metrics of validation, is this process's; the pipeline runs beside it and
has its stages' runs as ever, in a group with the id of the trial's run as name.
"""

import dataclasses
import os
import sys
import time
from pathlib import Path
from typing import Any

from experiments.command_line import EXPERIMENTS, Program, main
from experiments.files import read_json, write_json
from experiments.launching import Launch, last_words, start, stop
from experiments.sweeps.following import LOOK_SECONDS, Followed, follow
from experiments.sweeps.settings import STAGES

TRIALS = Program(
    "python -m experiments.sweeps.wandb_trial",
    {name: (EXPERIMENTS.commands[name][0], "experiments.sweeps.wandb_trial") for name in STAGES},
)
OF_AGENT = ("WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_SERVICE")
"""Variables by which the runs of the pipeline's stages would join the trial's run."""


def run(settings: Any) -> None:
    """Run a command of which an agent chose some options; log what it reaches on validation to the trial's run.

    Raises:
        ValueError: no agent started this process.
        RuntimeError: the command failed.
    """
    run_id, sweep_id = (os.environ.get(name) for name in OF_AGENT[:2])
    if run_id is None or sweep_id is None:
        raise ValueError(
            "WANDB_SWEEP_ID: got none, expected what 'wandb agent' sets; without a server: python -m experiments sweep"
        )
    command = next(name for name, (known, _) in TRIALS.commands.items() if type(settings) is known)
    output = Path(settings.output) / f"sweep-{sweep_id}"
    output.mkdir(parents=True, exist_ok=True)
    config = output / f"{run_id}.json"
    write_json(config, dataclasses.asdict(dataclasses.replace(settings, output=str(output), name=run_id)))
    launch = Launch(run_id, [command, "--config", str(config)], output / f"{run_id}.log")
    track(launch, output / run_id, follow(command, getattr(settings, "num_rounds", 0)))


def track(launch: Launch, directory: Path, followed: Followed) -> None:
    """Run a command beside the trial's W&B run, which it ends with; a signal that ends this process ends both.

    Raises:
        RuntimeError: the command failed.
    """
    import wandb

    run = wandb.init(
        job_type="trial",
        resume="allow",
        dir=str(launch.log.parent),
        settings=wandb.Settings(init_timeout=15, silent=True, console="off"),
    )
    for variable in OF_AGENT:
        os.environ.pop(variable, None)
    process = start(launch)
    try:
        while process.poll() is None:
            time.sleep(LOOK_SECONDS)
            log_epochs(run, followed.epochs(directory))
        if process.returncode == 0:
            results = read_json(directory / "results.json")
            assert results is not None, "a run that ended well has results"
            log_epochs(run, [*followed.epochs(directory), of_validation(followed.reached(results))])
    finally:
        stop(process)
        wandb.finish(exit_code=int(process.returncode != 0))
    if process.returncode != 0:
        raise RuntimeError(f"{launch.name} ended with exit status {process.returncode}: {last_words(launch.log)}")


def log_epochs(run: Any, epochs: list[dict[str, float]]) -> None:
    """Log the epochs that a W&B run does not have, one a step."""
    for epoch in epochs[run.step :]:
        run.log(epoch)


def of_validation(metrics: dict[str, float]) -> dict[str, float]:
    """Return the metrics of validation alone: a sweep sees no others."""
    return {name: value for name, value in metrics.items() if name.startswith("val/")}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], TRIALS))
