"""What a user may set about a preflight, as the command line and YAML files have it. No torch here."""

from dataclasses import dataclass

from experiments.commands import DistillCommand
from lightning_modules.settings import require


@dataclass(frozen=True, kw_only=True)
class PreflightCommand(DistillCommand):
    """Should I distil, is my teacher good enough? Measures both networks and answers after a short paired run.

    Takes the options and YAML files of ``distill``, and a teacher that is trained. Looks at training and validation
    images, never at test. Writes preflight.json and preflight.md into the run's directory, and nothing else; tracks
    nothing whatever ``wandb`` says, and computes in one process.

    Args:
        seconds: how long it may take after start-up, in all.
    """

    seconds: float = 100.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.seconds > 0, "seconds", self.seconds, "a time above 0, such as 100")
        require(self.table is None, "table", self.table, "null: what is judged is a teacher, not a table of labels")
        teacher = self.teacher
        network = f" --model.network {teacher.network}" if teacher.network else ""
        require(
            teacher.checkpoint is not None or not teacher.train,
            "teacher.checkpoint",
            teacher.checkpoint,
            "a teacher that is trained: distill would train this one first. Train it: python -m experiments train"
            f"{network} ..., then --teacher.checkpoint FILE; or take a published one: --teacher.pretrained true "
            "--teacher.train false",
        )
