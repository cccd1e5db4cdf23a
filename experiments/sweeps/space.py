"""What an option may be in a sweep: values, or a range of numbers. No torch here."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from lightning_modules.settings import require


@dataclass(frozen=True, kw_only=True)
class ParameterSpace:
    """What one option may be: one of ``values``, or a number from ``low`` to ``high``.

    Args:
        values: the values, of any kind that the option takes.
        low: smallest number.
        high: largest number.
        log: choose evenly among logarithms, as for a learning rate.
        step: between neighbouring numbers, counted from low; null has all between.
        integer: whole numbers alone.
    """

    values: list[Any] | None = None
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    integer: bool = False

    @property
    def texts(self) -> list[str]:
        """The values as the command line has them."""
        return [as_text(value) for value in self.values or ()]

    @property
    def examples(self) -> list[str]:
        """Values that stand for all: each of ``values``, or the ends of the range."""
        ends = [self.low, self.high]
        return self.texts or [as_text(int(end) if self.integer else float(end)) for end in ends if end is not None]


def as_text(value: Any) -> str:
    """Return an option's value as the command line has it."""
    return value if isinstance(value, str) else json.dumps(value)


def require_space(option: str, space: ParameterSpace) -> None:
    """Raise a ``ValueError`` that names what does not fit in what an option may be."""
    if space.values is not None:
        require(is_distinct(space.texts), f"{option}.values", space.values, "one value or more, each once")
        for other in fields(space):
            given = getattr(space, other.name)
            is_default = other.name == "values" or given == other.default
            require(is_default, f"{option}.{other.name}", given, f"{other.default}, its default, beside values")
        return
    low, high, step = space.low, space.high, space.step
    require(low is not None, f"{option}.low", low, "a number together with high; or values, a list")
    require(high is not None, f"{option}.high", high, "a number together with low; or values, a list")
    assert low is not None, "required above"
    assert high is not None, "required above"
    require(high > low, f"{option}.high", high, f"a number above low ({low})")
    require(not space.log or low > 0, f"{option}.low", low, "a number above 0, as log needs")
    require(step is None or (step > 0 and not space.log), f"{option}.step", step, "a number above 0, without log")
    for end, number in {"low": low, "high": high, "step": step or 1}.items():
        require(
            not space.integer or number == int(number), f"{option}.{end}", number, "a whole number, as integer says"
        )


def is_distinct(texts: Sequence[str]) -> bool:
    """Return whether there are values, and none twice."""
    return 0 < len(texts) == len(set(texts))


def grid(parameters: Mapping[str, ParameterSpace]) -> list[dict[str, str]]:
    """Return every combination of the options' values, as the command line has them; the last option changes first."""
    combinations = itertools.product(*(space.texts for space in parameters.values()))
    return [dict(zip(parameters, combination, strict=True)) for combination in combinations]


def examples(parameters: Mapping[str, ParameterSpace]) -> list[dict[str, str]]:
    """Return choices that together show every value, and both ends of every range."""
    first = {option: space.examples[0] for option, space in parameters.items()}
    return [first, *(first | {o: text} for o, space in parameters.items() for text in space.examples[1:])]
