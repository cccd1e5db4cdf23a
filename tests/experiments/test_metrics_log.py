"""metrics.csv: a row a step, kept over interruptions."""

import csv

from experiments.metrics_log import MetricsLog


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_values_of_one_step_share_a_row_and_columns_may_come_later(tmp_path):
    log = MetricsLog(tmp_path)
    log.log_metrics({"train/loss": 2.0, "epoch": 0}, step=9)
    log.log_metrics({"val/accuracy": 0.5, "epoch": 0}, step=9)
    log.log_metrics({"lr": 0.1, "epoch": 1}, step=19)
    log.finalize("success")
    assert rows(tmp_path / "metrics.csv") == [
        {"step": "9", "epoch": "0", "lr": "", "train/loss": "2.0", "val/accuracy": "0.5"},
        {"step": "19", "epoch": "1", "lr": "0.1", "train/loss": "", "val/accuracy": ""},
    ]


def test_a_resumed_run_keeps_the_rows_up_to_its_checkpoint(tmp_path):
    log = MetricsLog(tmp_path)
    for step in (9, 19, 29):
        log.log_metrics({"val/accuracy": step / 100, "epoch": step // 10}, step=step)
    resumed = MetricsLog(tmp_path, resume_step=20)
    resumed.log_metrics({"val/accuracy": 0.99, "epoch": 2}, step=29)
    assert [row["val/accuracy"] for row in rows(tmp_path / "metrics.csv")] == ["0.09", "0.19", "0.99"]
