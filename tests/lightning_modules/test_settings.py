"""Settings refuse what makes no sense, naming the option."""

import pytest

from lightning_modules.settings import DistillationSettings, OptimizerSettings


@pytest.mark.parametrize(
    ("settings", "values", "message"),
    [
        (OptimizerSettings, {"lr": -0.1}, r"optimizer\.lr: got -0\.1, expected a learning rate above 0"),
        (OptimizerSettings, {"lr": float("nan")}, r"optimizer\.lr: got nan"),
        (OptimizerSettings, {"weight_decay": -1}, r"optimizer\.weight_decay: got -1, expected 0 or more"),
        (DistillationSettings, {"alpha": 1.5}, r"distillation\.alpha: got 1\.5, expected a weight in 0\.\.1"),
        (DistillationSettings, {"alpha": -0.1}, r"distillation\.alpha: got -0\.1"),
        (DistillationSettings, {"temperature": 0}, r"distillation\.temperature: got 0, expected a temperature above 0"),
        (DistillationSettings, {"temperature_end": -2, "schedule": "linear"}, r"distillation\.temperature_end: got -2"),
        (DistillationSettings, {"schedule": "linear"}, r"distillation\.schedule: got 'linear', expected .* together"),
        (DistillationSettings, {"alpha_end": 0.5}, r"distillation\.schedule: got 'constant'"),
    ],
)
def test_refused(settings, values, message):
    with pytest.raises(ValueError, match=message):
        settings(**values)
