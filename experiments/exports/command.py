"""Export of a checkpoint's network: files, each checked against it, sizes and latencies, a model card."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from experiments.exports.check import (
    TOLERANCE,
    Check,
    ExportMismatchError,
    Measured,
    batches_to_check,
    compare,
    measure,
    print_rows,
    single_thread,
)
from experiments.exports.formats import FILES, TRACED, Exporter, require_packages
from experiments.exports.images import CheckImages, find_images
from experiments.exports.model_card import TAG, ExportFacts, compose_card
from experiments.exports.settings import ExportCommand
from experiments.exports.trained_run import TrainedRun
from experiments.files import as_path, read_json, write_atomically
from lightning_modules.checkpoints import load_network
from lightning_modules.networks import Network
from lightning_modules.settings import require
from lightning_modules.weights import read_file


def run(command: ExportCommand) -> list[Measured]:
    """Write the files and the model card, print how they differ and the table, return its rows.

    Raises:
        ValueError: the checkpoint, its images or its teacher cannot be had, or a format has no room for the network.
        ExportMismatchError: an exported network says something else; its file is not kept.
    """
    require_packages(command.format)
    checkpoint = as_path(command.checkpoint)
    network = cast(Network, load_network(checkpoint)).eval()
    trained = TrainedRun.of(checkpoint)
    images = find_images(command, network, trained)
    teacher = find_teacher(command, network, trained)
    output = make_directory(command)
    batch = images.batch(command.batch_size)
    exporter = Exporter(network, batch, read_file(checkpoint).get("class_names"))
    with single_thread():
        rows = [measure(spoken(trained, "network"), network, [checkpoint], batch)]
        rows += [export(exporter, form, images, output) for form in command.format]
        if teacher is not None:
            path, taught = teacher
            rows.append(measure(spoken(TrainedRun.of(path), "teacher"), taught, [path], batch))
    print_rows(rows, len(batch))
    facts = ExportFacts(checkpoint, exporter, images, rows, tuple(command.format), command.license, trained)
    write_atomically(output / "README.md", compose_card(facts, output))
    print(f"exported to {output}, with a model card: {output / 'README.md'}", flush=True)
    return rows


def find_teacher(command: ExportCommand, network: Network, run: TrainedRun | None) -> tuple[Path, Network] | None:
    """Return the checkpoint and the network to compare with: the user's, else of the run's stage ``teacher``.

    Raises:
        ValueError: it takes images of another number of channels, or cannot be read.
    """
    path = as_path(command.teacher) or (None if run is None else run.checkpoint_of("teacher"))
    if path is None or path.resolve() == as_path(command.checkpoint).resolve():
        return None
    teacher = cast(Network, load_network(path)).eval()
    expected = f"a network for images of {network.spec.num_channels} channels, as the exported one"
    given = f"{path}, for {teacher.spec.num_channels}"
    require(teacher.spec.num_channels == network.spec.num_channels, "teacher", given, expected)
    return path, teacher


def spoken(run: TrainedRun | None, otherwise: str) -> str:
    """Return what the table calls a checkpoint: its stage, where it is of a run."""
    return otherwise if run is None else run.stage


def make_directory(command: ExportCommand) -> Path:
    """Make the directory that is written to and return it.

    Raises:
        ValueError: it cannot be made, or a file there has the name of one of ours and is somebody else's.
    """
    output = as_path(command.output)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"output: cannot make the directory {output} ({reason}); choose another --output") from error
    card, config = output / "README.md", output / "config.json"
    foreign = [card] if card.is_file() and f"- {TAG}\n" not in card.read_text(errors="replace") else []
    foreign += (
        [config] if "safetensors" in command.format and "network" not in (read_json(config) or {"network": 0}) else []
    )
    expected = f"a directory without a {', '.join(path.name for path in foreign)} that no export wrote"
    require(not foreign, "output", command.output, expected)
    return output


def export(exporter: Exporter, form: str, images: CheckImages, output: Path) -> Measured:
    """Write one format, check it, print how it differs, and put its files in place.

    Raises:
        ValueError: the format has no room for the network.
        ExportMismatchError: it says something else than the checkpoint; then nothing is put in place.
    """
    batches = batches_to_check(images.pixels, exporter.side_step if form in TRACED else None)
    with TemporaryDirectory(prefix=".export-", dir=output) as name:
        exported = exporter.write(form, Path(name))
        check = compare(exporter.network, exported, batches)
        print(describe(form, check, images.origin), flush=True)
        if not check.passes:
            raise ExportMismatchError(
                f"{FILES[form][0]} differs from the checkpoint by {check.difference:.1e}, more than {TOLERANCE:g} of "
                f"the spread of the logits, {check.spread:.1e}; it was not kept. Another format may do"
            )
        for file in FILES[form]:
            publish(Path(name) / file, output / file)
    return measure(FILES[form][0], exported, [output / file for file in FILES[form]], exporter.images, check)


def describe(form: str, check: Check, origin: str) -> str:
    """Return the line on a file that was checked."""
    return (
        f"{FILES[form][0]}: logits differ by at most {check.difference:.1e} (they spread over {check.spread:.1f}), "
        f"classes are equal in {100 * check.equal:.2f} %; {origin}"
    )


def publish(written: Path, target: Path) -> None:
    """Flush a file to disk, then let it take its place."""
    with written.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(written, target)
