"""The rounds of self-training: what each of them lets a user set. No torch here: parsing answers at once."""

import dataclasses
import difflib
from argparse import ArgumentError
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from jsonargparse import ArgumentParser

from experiments.network_settings import NetworkSettings, require_decay
from experiments.pseudo_label_settings import PseudoLabelSettings
from experiments.settings import AugmentationSettings
from lightning_modules.settings import OptimizerSettings, require


@dataclass(frozen=True)
class RoundSettings:
    """A round of self-training: its student, and what that learns from.

    Args:
        student: the network that learns, noised by its drop_rate and drop_path_rate.
        optimizer: the student's optimizer and schedule.
        max_epochs: epochs of the student; null takes those of the trainer.
        steps_per_epoch: training batches of an epoch; null passes about once over the pseudo-labelled images.
        noise: views of the pseudo-labelled images, and what mixes pairs of them with their pseudo-labels.
        labeled_noise: views of the labelled images.
        pseudo_labels: how the pool is labelled, and which labels are taught.
        initialize: ``fresh`` starts the student from its own weights, ``previous`` from those of its teacher.
        ema_decay: validate and keep the moving average of the student's weights, with this decay a step; null: none.
    """

    student: NetworkSettings = field(default_factory=lambda: NetworkSettings(network="cnn_large", drop_rate=0.2))
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    max_epochs: int | None = None
    steps_per_epoch: int | None = None
    noise: AugmentationSettings = field(default_factory=lambda: AugmentationSettings(policy="strong"))
    labeled_noise: AugmentationSettings = field(default_factory=lambda: AugmentationSettings(policy="weak"))
    pseudo_labels: PseudoLabelSettings = field(default_factory=PseudoLabelSettings)
    initialize: Literal["fresh", "previous"] = "fresh"
    ema_decay: float | None = None

    def __post_init__(self) -> None:
        for option in ("max_epochs", "steps_per_epoch"):
            value = getattr(self, option)
            require(value is None or value >= 1, option, value, "1 or more, or null")
        require_decay("ema_decay", self.ema_decay)
        starts = "pretrained" if self.student.pretrained else "checkpoint" if self.student.checkpoint else None
        require(
            self.initialize == "fresh" or starts is None,
            "initialize",
            self.initialize,
            f"fresh together with student.{starts}: weights come from one place",
        )


def resolve_rounds(
    base: RoundSettings,
    num_rounds: int,
    students: Sequence[str] | None = None,
    growth: int | None = None,
    overrides: Sequence[Mapping[str, Any]] = (),
    *,
    grow: Callable[[str, int], str],
) -> list[RoundSettings]:
    """Return the settings of each round.

    Args:
        base: settings of all rounds, where nothing else is said.
        num_rounds: number of rounds.
        students: network of each round; the last stays where there are more rounds.
        growth: largest number of parameters: each round takes the next larger network of the family within it.
        overrides: one mapping a round, nested as the options are; rounds beyond them are as ``base`` has them.
        grow: returns the next larger network of a family with at most so many parameters, or the same.

    Raises:
        ValueError: an option is unknown, of a wrong type or out of range, or contradicts another; the message names
            option and round.
    """
    require(num_rounds >= 1, "num_rounds", num_rounds, "1 or more")
    require(len(overrides) <= num_rounds, "rounds", overrides, f"at most one mapping for each of {num_rounds} rounds")
    networks = student_networks(base.student, num_rounds, students, growth, grow)
    rounds = []
    for number, network in enumerate(networks, start=1):
        settings = dataclasses.replace(base, student=dataclasses.replace(base.student, network=network))
        changes = overrides[number - 1] if number <= len(overrides) else {}
        try:
            rounds.append(override(settings, changes, "" if students is None and growth is None else "student.network"))
        except ValueError as error:
            raise ValueError(f"rounds, round {number}: {error}") from error
    require_same_networks(rounds)
    return rounds


def student_networks(
    student: NetworkSettings,
    num_rounds: int,
    students: Sequence[str] | None,
    growth: int | None,
    grow: Callable[[str, int], str],
) -> list[str | None]:
    """Return the name of each round's network; ``None`` leaves it to the checkpoint.

    Raises:
        ValueError: students and growth do not fit together, the rounds, or the checkpoint.
    """
    require(students is None or growth is None, "growth", growth, "null together with students: both say the networks")
    if students is None and growth is None:
        return [student.network] * num_rounds
    require(
        student.checkpoint is None,
        "round.student.checkpoint",
        student.checkpoint,
        "null together with students or growth: the weights of one network do not fit others",
    )
    if students is not None:
        fitting = 1 <= len(students) <= num_rounds
        require(fitting, "students", list(students), f"1 to {num_rounds} names, one a round of num_rounds")
        return [students[min(number, len(students) - 1)] for number in range(num_rounds)]
    assert growth is not None, "else there were students"
    require(growth >= 1, "growth", growth, "a number of parameters, such as 1000000")
    networks = [student.name]
    while len(networks) < num_rounds:
        networks.append(grow(networks[-1], growth))
    return list(networks)


def next_larger(name: str, max_parameters: int, family_of: Mapping[str, Mapping[str, int]]) -> str:
    """Return the smallest network of the family that is larger, or the same name where none is within the limit.

    Args:
        name: a network.
        max_parameters: largest number of parameters.
        family_of: of each network, the numbers of parameters of its family's members by name, its own among them.

    Raises:
        ValueError: the network has no family, or is itself above the limit.
    """
    if name not in family_of:
        raise ValueError(
            f"growth: got {max_parameters}, expected null: {name} is of no family whose sizes are known; students "
            "names the networks of the rounds one by one"
        )
    family = family_of[name]
    own = family[name]
    require(own <= max_parameters, "growth", max_parameters, f"at least the {own} parameters of {name}")
    larger = [(size, member) for member, size in family.items() if own < size <= max_parameters]
    return min(larger)[1] if larger else name


def override(settings: RoundSettings, changes: Mapping[str, Any], settled: str) -> RoundSettings:
    """Return the settings with some changed.

    Args:
        settings: a round's.
        changes: nested as the options are.
        settled: an option that may not be changed, or nothing.

    Raises:
        ValueError: an option is unknown, settled, of a wrong type or out of range.
    """
    require_known(settings, changes, "", settled)
    if not changes:
        return settings
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(RoundSettings)
    parser.set_defaults(dataclasses.asdict(settings))
    try:
        return RoundSettings(**vars(parser.instantiate(parser.parse_object(dict(changes)))))
    except ArgumentError as error:
        raise ValueError(" ".join(str(error).split())) from error


def require_known(settings: Any, changes: Any, group: str, settled: str) -> None:
    """Raise a ``ValueError`` unless changes are mappings where options are grouped, and all their options known."""
    require(isinstance(changes, Mapping), group or "options", changes, "a mapping of options to values")
    options = [option.name for option in dataclasses.fields(settings)]
    for option, value in changes.items():
        name = f"{group}.{option}".lstrip(".")
        nearest = difflib.get_close_matches(str(option), options, n=1, cutoff=0.4)
        hint = f"; did you mean {nearest[0]}?" if nearest else f": {', '.join(options)}"
        require(option in options, name, value, f"an option of a round{hint}")
        require(name != settled, name, value, "nothing: students or growth say the networks of the rounds")
        if dataclasses.is_dataclass(getattr(settings, option)):
            require_known(getattr(settings, option), value, name, settled)


def require_same_networks(rounds: Sequence[RoundSettings]) -> None:
    """Raise a ``ValueError`` unless a student that starts from the previous one has the same network."""
    for number, (before, settings) in enumerate(pairwise(rounds), start=2):
        network, previous = settings.student.name, before.student.name
        require(
            settings.initialize == "fresh" or network == previous,
            f"rounds, round {number}: initialize",
            settings.initialize,
            f"fresh: the weights of the round before, of {previous}, do not fit {network}",
        )
