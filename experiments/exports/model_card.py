"""The model card of an export: Markdown, with the metadata that the Hugging Face hub reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from huggingface_hub import EvalResult, ModelCardData

from experiments.exports.check import Measured, cells, headings
from experiments.exports.formats import Exporter
from experiments.exports.images import CheckImages
from experiments.exports.trained_run import TrainedRun
from experiments.exports.usage import usage_section
from experiments.exports.weight_origins import UNKNOWN, WeightOrigin, weight_origins
from experiments.files import file_digest, read_json
from experiments.prediction_tables import PREDICTIONS, read_predictions
from experiments.stage import ELSEWHERE, flatten
from experiments.studies.reporting import markdown_table
from lightning_modules.networks.names import SEGMENTATION, resolve

TAG = "teacher-student-lightning"
"""Of every card of ours, by which a file is known to be one."""
HUB_DATASETS = {
    "mnist": "ylecun/mnist",
    "fashion_mnist": "zalando-datasets/fashion_mnist",
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "svhn": "ufldl-stanford/svhn",
}
"""Names on the Hugging Face hub of sources that are there."""
HUB_METRICS = ("accuracy", "f1", "mean_iou")
"""What the hub has the same names for."""
MOST_CLASSES = 20
"""Classes whose names the card lists."""
OF_THE_MACHINE = ELSEWHERE | {"output", "wandb", "name"}


@dataclass(frozen=True)
class ExportFacts:
    """What a card says.

    Attributes:
        checkpoint: the file that was exported.
        exporter: holds the network.
        images: it was checked on.
        rows: sizes and latencies.
        formats: that it was written in.
        license: the hub's name of the licence it is given out under.
        run: it was trained in, where that is known.
    """

    checkpoint: Path
    exporter: Exporter
    images: CheckImages
    rows: Sequence[Measured]
    formats: tuple[str, ...]
    license: str
    run: TrainedRun | None

    @property
    def name(self) -> str:
        """The name of the network in the run."""
        return self.checkpoint.stem if self.run is None else f"{self.run.name}, {self.run.stage}"

    @property
    def task(self) -> str:
        """The hub's name of what the network does."""
        is_dense = resolve(self.exporter.network.spec.name)[0] is SEGMENTATION
        return "image-segmentation" if is_dense else "image-classification"

    @property
    def source_name(self) -> str | None:
        """The name of the source it was trained on, ``None`` where no run says it."""
        return None if self.run is None else self.run.config["data"]["source"]

    @property
    def metrics(self) -> dict[str, float]:
        """The figures of this very checkpoint."""
        return {} if self.run is None or self.run.record is None else self.run.record["metrics"]


def compose_card(facts: ExportFacts, directory: Path) -> str:
    """Return the model card of what was exported to ``directory``."""
    in_timm = "safetensors" in facts.formats and "architecture" in (read_json(directory / "config.json") or {})
    origins = list(dict.fromkeys(weight_origins(facts.checkpoint)))
    sections = [
        f"# {facts.name}\n\n{introduction(facts)}",
        usage_section(facts.exporter, facts.formats, in_timm=in_timm),
        data_section(facts),
        results_section(facts),
        size_section(facts),
        origins_section(origins),
        settings_section(facts),
        limits_section(facts),
    ]
    return f"---\n{metadata(facts, origins, in_timm).to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n"


def metadata(facts: ExportFacts, origins: Sequence[WeightOrigin], in_timm: bool) -> ModelCardData:
    """Return the card's metadata, in the hub's words."""
    began = [origin.hub for origin in origins if origin.hub and not origin.taught]
    measured = [name for name in HUB_METRICS if f"test/{name}" in facts.metrics]
    dataset = HUB_DATASETS.get(facts.source_name or "")
    figures = [
        EvalResult(
            task_type=facts.task,
            dataset_type=dataset or str(facts.source_name),
            dataset_name=str(facts.source_name),
            dataset_split="test",
            metric_type=name,
            metric_value=round(facts.metrics[f"test/{name}"], 4),
        )
        for name in measured
    ]
    options: dict[str, Any] = {"model_name": facts.name, "eval_results": figures} if figures else {}
    return ModelCardData(
        license=facts.license,
        library_name="timm" if in_timm else "pytorch",
        pipeline_tag=facts.task,
        tags=[TAG, facts.task],
        datasets=[dataset] if dataset else None,
        metrics=measured or None,
        base_model=began or None,
        **options,
    )


def introduction(facts: ExportFacts) -> str:
    """Return what the network is, in a few sentences."""
    spec, run = facts.exporter.network.spec, facts.run
    what = f"`{spec.name}` with {facts.rows[0].parameters:,} parameters for {spec.num_classes} classes"
    how = "its training is not known: the checkpoint lies in no run"
    if run is not None:
        command = f"the command `{run.results['command']}`, " if "command" in run.results else ""
        how = f"trained on {facts.source_name} by {command}stage `{run.stage}`, seed {run.config['seed']} (one run)"
    digest = file_digest(facts.checkpoint)
    return f"{what}; {how}.\n\nExported from `{facts.checkpoint.name}`, SHA-256 {digest}."


def data_section(facts: ExportFacts) -> str:
    """Return which images it was trained on, how many, with which classes, and whom to cite."""
    lines = [f"- Source: {facts.source_name or UNKNOWN}"]
    if facts.images.source is not None and facts.images.source.name == facts.source_name:
        lines.append(f"- Citation: {facts.images.source.citation}")
    record = facts.run.record if facts.run is not None else None
    counts: dict[str, int] = (record or {}).get("num_images", {})
    lines += [f"- Images, {name.replace('_', '-')}: {count:,}" for name, count in counts.items()]
    lines += teachers_images(facts)
    names = facts.exporter.class_names
    if names:
        more = f", ... ({len(names)} in all)" if len(names) > MOST_CLASSES else ""
        lines.append(f"- Classes, in their order: {', '.join(names[:MOST_CLASSES])}{more}")
    return "## Training data\n\n" + "\n".join(lines)


def teachers_images(facts: ExportFacts) -> list[str]:
    """Return a line on the labels that a distilled network's teacher learned from, where they were more."""
    run = facts.run
    teacher = None if run is None else run.results.get("stages", {}).get("teacher")
    if run is None or teacher is None or run.stage != "student_distilled" or "num_images" not in teacher:
        return []
    return [f"- Images, labeled, of the teacher that it learned from: {teacher['num_images']['labeled']:,}"]


def results_section(facts: ExportFacts) -> str:
    """Return the figures on validation and test, or why there are none."""
    if not facts.metrics:
        return "## Results\n\nNo figures of this checkpoint are known."
    assert facts.run is not None, "figures are of a run"
    names = list(dict.fromkeys(name.partition("/")[2] for name in facts.metrics))
    rows = [
        [name.replace("_", " "), *(figure(facts.metrics, split, name) for split in ("val", "test"))] for name in names
    ]
    path = facts.run.stage_directory / PREDICTIONS
    number = f" The test split has {len(read_predictions(path).ids):,} images." if path.is_file() else ""
    table = markdown_table(["", "validation", "test"], rows)
    said = "Fractions in 0..1, of one run; the epoch was chosen on validation, the test split looked at once."
    return f"## Results\n\n{table}\n\n{said}{number}"


def figure(metrics: dict[str, float], split: str, name: str) -> str:
    """Return a figure with four digits; a dash where there is none."""
    value = metrics.get(f"{split}/{name}")
    return "–" if value is None else f"{value:.4f}"


def size_section(facts: ExportFacts) -> str:
    """Return the table of sizes, latencies and differences."""
    columns = ["", *(heading.replace("\n", " ") for heading in headings(len(facts.exporter.images)))]
    table = markdown_table(columns, [cells(row) for row in facts.rows])
    where = (
        f"Lower quartiles of latencies, one thread of the CPU, float32, torch {torch.__version__}. Differences of "
        f"logits: {facts.images.origin}."
    )
    return f"## Size and latency\n\n{table}\n\n{where}"


def origins_section(origins: Sequence[WeightOrigin]) -> str:
    """Return whose weights went in, and their licences."""
    lines = []
    for origin in origins:
        role = "of a teacher" if origin.taught else "of the network"
        lines.append(f"- {role}: {origin.what}" + (f"; licence: {origin.licence}" if origin.licence else ""))
    if any("torchvision" in origin.what for origin in origins):
        lines.append(
            "\ntorchvision's code is under BSD-3-Clause. Its README says that terms of the weights may follow from the "
            "data they were trained on."
        )
    return "## Weights that went in\n\n" + "\n".join(lines)


def settings_section(facts: ExportFacts) -> str:
    """Return the settings that were given or are not off, without those of the machine."""
    if facts.run is None:
        return "## Settings\n\nNot known."
    flat = {name: value for name, value in flatten(facts.run.config).items() if name not in OF_THE_MACHINE}
    given = {name: without_folder(value) for name, value in flat.items() if value not in (None, [], {})}
    versions = ", ".join(f"{name} {version}" for name, version in facts.run.results.get("versions", {}).items())
    return f"## Settings\n\n```yaml\n{yaml.safe_dump(given, sort_keys=False)}```" + (
        f"\n\n{versions}." if versions else ""
    )


def without_folder(value: Any) -> Any:
    """Return a setting; of a file with its whole path, which only its machine has, the name."""
    return value.rpartition("/")[2] if isinstance(value, str) and value.startswith(("/", "~")) else value


def limits_section(facts: ExportFacts) -> str:
    """Return what is not known of the network."""
    height, width = facts.images.pixels.shape[-2:]
    known = f"images of {facts.source_name}" if facts.source_name else "any images"
    return (
        f"## Limits\n\nIt was checked on images of {height}×{width} pixels. Beyond the figures above, nothing was "
        f"measured: neither on other images than {known}, nor per group of people or places, nor against attacks."
    )
