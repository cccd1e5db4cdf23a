"""Scheduled quantities."""

import pytest

from lightning_modules.schedules import Schedule


@pytest.mark.parametrize(
    ("shape", "values"), [("constant", [8, 8, 8]), ("linear", [8, 6.5, 2]), ("cosine", [8, 7.1213, 2])]
)
def test_known_values(shape, values):
    schedule = Schedule(8, 2, shape)
    assert [schedule(progress) for progress in (0, 0.25, 1)] == pytest.approx(values, abs=1e-4)
    assert schedule(1.5) == values[-1]
