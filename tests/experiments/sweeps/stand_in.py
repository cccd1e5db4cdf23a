"""Stands for ``python -m experiments`` where a test looks at what starts it: its files, without its training.

An option ``optimizer.lr`` of 0.01 is best; above 1 the run fails; below 1e-4 it stands still after N epochs as long as
there is a file hold_after_N. A done epoch is a row of metrics.csv and a line of epochs.txt; a run goes on after
the epochs that it finds there.
"""

import json
import math
import sys
import time
from pathlib import Path

EPOCHS = 6


def main(arguments: list[str]) -> None:
    options = {}
    if arguments[0] == "--config":
        config = json.loads(Path(arguments[1]).read_text())
        options = {"output": config["output"], "name": config["name"], "optimizer.lr": config["optimizer"]["lr"]}
    options |= dict(argument[2:].split("=", 1) for argument in arguments if "=" in argument)
    directory, lr = Path(options["output"]) / options["name"], float(options["optimizer.lr"])
    if lr > 1:
        sys.exit("the loss exploded")
    stage = directory / "stages" / "0-train"
    stage.mkdir(parents=True, exist_ok=True)
    done = stage / "epochs.txt"
    done.touch()
    quality = 1 - abs(math.log10(lr) + 2) / 8
    rows = ["step,epoch,train/loss,val/accuracy,val/loss,test/accuracy"]
    for epoch in range(EPOCHS):
        accuracy = quality * (epoch + 1) / EPOCHS
        rows.append(f"{epoch},{epoch},{1 - accuracy},{accuracy},{1 - accuracy},")
        if epoch < len(done.read_text().splitlines()):
            continue
        while lr < 1e-4 and Path(f"hold_after_{epoch}").exists():
            time.sleep(0.02)
        write(stage / "metrics.csv", "\n".join(rows) + "\n")
        with done.open("a") as file:
            file.write(f"{epoch}\n")
    rows.append(f"{EPOCHS},{EPOCHS},,{accuracy},{1 - accuracy},{accuracy - 0.01}")
    write(stage / "metrics.csv", "\n".join(rows) + "\n")
    metrics = {"val/accuracy": accuracy, "val/loss": 1 - accuracy, "test/accuracy": accuracy - 0.01}
    results = {"name": options["name"], "stages": {"train": {"metrics": metrics}}}
    write(directory / "results.json", json.dumps(results))


def write(path: Path, text: str) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(text)
    temporary.replace(path)


if __name__ == "__main__":
    main(sys.argv[2:])
