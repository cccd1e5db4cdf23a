"""What a user may set about self-training. No torch here: parsing answers at once."""

from dataclasses import dataclass, field
from typing import Any

from experiments.commands import Command
from experiments.network_settings import TeacherSettings
from experiments.rounds import RoundSettings
from lightning_modules.settings import MaskLossSettings, OptimizerSettings, require


@dataclass(frozen=True)
class FinetuneSettings:
    """Training the last student on clean labelled images alone, when the rounds are over.

    Args:
        max_epochs: epochs; 0 leaves it out.
        optimizer: optimizer and schedule; the learning rate is low.
    """

    max_epochs: int = 0
    optimizer: OptimizerSettings = field(default_factory=lambda: OptimizerSettings(lr=1e-4))

    def __post_init__(self) -> None:
        require(self.max_epochs >= 0, "finetune.max_epochs", self.max_epochs, "0 (off) or more")


@dataclass(frozen=True, kw_only=True)
class SelfTrainCommand(Command):
    """Train a teacher on the labels, let it label the pool, teach a noised student both, and again (Noisy Student).

    Args:
        teacher: the first teacher, trained on the labelled images unless it comes from elsewhere.
        num_rounds: students after it, each of which teaches the next.
        round: settings of every round.
        students: network of each round, ``NAME,...`` or a list; the last stays where there are more rounds.
        growth: largest number of parameters: each round takes the next larger network of the family within it.
        rounds: what is other in each round: a list of mappings, nested as the options of ``round`` are.
        guard: accuracy (of masks mean IoU) on validation, 0 to 1, that a student may lose to its teacher and still
            teach; null: as much as a paired bootstrap takes for chance (95 %).
        finetune: training on clean labelled images when the rounds are over.
        mask_loss: the supervised loss where the targets are masks.
        baselines: also train the last network on the labelled images alone for as many steps, and on all labels.
    """

    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    num_rounds: int = 2
    round: RoundSettings = field(default_factory=RoundSettings)
    students: list[str] | str | None = None
    growth: int | None = None
    rounds: list[dict[str, Any]] = field(default_factory=list)
    guard: float | None = None
    finetune: FinetuneSettings = field(default_factory=FinetuneSettings)
    mask_loss: MaskLossSettings = field(default_factory=MaskLossSettings)
    baselines: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.guard is None or 0 <= self.guard <= 1, "guard", self.guard, "a fraction in 0..1, or null")
        if isinstance(self.students, str):
            object.__setattr__(self, "students", [name.strip() for name in self.students.split(",")])
