"""What the directory of a run says of one of its checkpoints."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from experiments.files import read_json
from experiments.settings import DataSettings
from experiments.stage import Record


@dataclass(frozen=True)
class TrainedRun:
    """The run that a checkpoint is of, as its directory has it.

    Attributes:
        directory: of the run.
        stage: name of the checkpoint's stage.
        stage_directory: of that stage.
        config: what the user set.
        settings: what the stage's result depends on.
        record: the stage's record; ``None`` where the stage did not end, or has its figures of another checkpoint.
        results: of all stages; empty where the run did not end.
    """

    directory: Path
    stage: str
    stage_directory: Path
    config: dict[str, Any]
    settings: dict[str, Any]
    record: Record | None
    results: dict[str, Any]

    @classmethod
    def of(cls, checkpoint: Path) -> "TrainedRun | None":
        """Return the run of a checkpoint, ``None`` where it does not lie in the directory of one.

        Raises:
            ValueError: a file of the run is no JSON.
        """
        path = checkpoint.resolve()
        if len(path.parents) < 4 or path.parents[2].name != "stages":
            return None
        stage, run = path.parents[1], path.parents[3]
        if not (run / "config.yaml").is_file():
            return None
        record = read_json(stage / "stage.json")
        is_its_own = record is not None and record.get("checkpoint") == str(path.relative_to(run))
        return cls(
            directory=run,
            stage=stage.name.partition("-")[2],
            stage_directory=stage,
            config=yaml.safe_load((run / "config.yaml").read_text()),
            settings=read_json(stage / "settings.json") or {},
            record=record if is_its_own else None,
            results=read_json(run / "results.json") or {},
        )

    @property
    def name(self) -> str:
        """The run's name."""
        return self.directory.name

    def data_settings(self) -> DataSettings:
        """Return which images the run saw.

        Raises:
            ValueError: its configuration is of a version whose options were others.
        """
        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(DataSettings, "data")
        try:
            data: DataSettings = parser.instantiate(parser.parse_object({"data": self.config["data"]})).data
        except Exception as error:  # jsonargparse has several kinds
            reason = " ".join(str(error).split())
            raise ValueError(
                f"{self.directory / 'config.yaml'}: its images cannot be had from it ({reason}); say them by "
                "--data.source and what belongs to it"
            ) from error
        return data

    def checkpoint_of(self, stage: str) -> Path | None:
        """Return the checkpoint of another stage, ``None`` where the run has none."""
        directories = sorted((self.directory / "stages").glob(f"*-{stage}"))
        found = [path / "checkpoints" / "best.ckpt" for path in directories if path.name.partition("-")[2] == stage]
        return next((path for path in found if path.is_file()), None)
