"""Whose weights went into a checkpoint, and under which licences."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any

import timm
from torchvision import models

from experiments.exports.trained_run import TrainedRun
from experiments.files import as_path, file_digest
from lightning_modules.networks.deformable_resnet import NETWORKS as DEFORMABLE
from lightning_modules.networks.deformable_resnet import PREFIX
from lightning_modules.networks.names import TIMM, TORCHVISION, resolve
from lightning_modules.networks.segmentation.builders import ON_ENCODERS
from lightning_modules.networks.segmentation.torchvision_segmentation import NAMES as OF_TORCHVISION

UNKNOWN = "unknown"


@dataclass(frozen=True)
class WeightOrigin:
    """Weights that a network began with, or learned from.

    Attributes:
        what: the weights.
        licence: as their publisher names it, ``unknown`` where nothing says it, ``None`` of random weights.
        hub: their name on the Hugging Face hub, where they have one.
        taught: whether they taught the network; else it began with them.
    """

    what: str
    licence: str | None = UNKNOWN
    hub: str | None = None
    taught: bool = False


def weight_origins(checkpoint: Path, seen: frozenset[Path] = frozenset()) -> Iterator[WeightOrigin]:
    """Yield whose weights a checkpoint began with and learned from, through other runs as far as their files say it.

    Args:
        checkpoint: one of ours, or any other file of weights.
        seen: checkpoints that are being followed; a file that was overwritten may name itself.
    """
    run = None if checkpoint.resolve() in seen else TrainedRun.of(checkpoint)
    if run is None:
        digest = f" (SHA-256 {file_digest(checkpoint)})" if checkpoint.is_file() else ", which is not there any more"
        yield WeightOrigin(f"the file {checkpoint.name}{digest}: no run says where its weights are from")
        return
    seen = seen | {checkpoint.resolve()}
    yield from beginnings(run, seen)
    for origin in teachers(run, seen):
        yield replace(origin, taught=True)


def beginnings(run: TrainedRun, seen: frozenset[Path]) -> Iterator[WeightOrigin]:
    """Yield what the network of a run's stage began with."""
    settings, in_round = run.settings, run.settings.get("round", {})
    if "start" in settings:
        yield from of_stage(run, settings["start"], seen)
    elif in_round.get("initialize", "fresh") != "fresh" and "taught_by" in settings:
        yield from of_stage(run, settings["taught_by"], seen)
    else:
        named = (settings.get("model"), settings.get("student"), in_round.get("student"), settings.get("teacher"))
        yield from of_settings(next((each for each in named if each), {}), seen)


def teachers(run: TrainedRun, seen: frozenset[Path]) -> Iterator[WeightOrigin]:
    """Yield the weights of whatever taught the network of a run's stage."""
    settings = run.settings
    if "taught_by" in settings:
        yield from of_stage(run, settings["taught_by"], seen)
    elif "student" in settings and "teacher" in settings:
        yield from (
            of_stage(run, "teacher", seen) if run.checkpoint_of("teacher") else of_settings(settings["teacher"], seen)
        )
    if settings.get("table"):
        yield WeightOrigin(f"pseudo-labels of a table (SHA-256 {settings['table']})")


def of_stage(run: TrainedRun, stage: str, seen: frozenset[Path]) -> Iterator[WeightOrigin]:
    """Yield the origins of another stage of the run: of its checkpoint or, where it trained none, of its settings."""
    checkpoint = run.checkpoint_of(stage)
    if checkpoint is None:
        yield from of_settings(run.config.get("teacher", {}), seen)
    else:
        yield from of_checkpoint(checkpoint, seen)


def of_checkpoint(path: Path, seen: frozenset[Path]) -> Iterator[WeightOrigin]:
    """Yield which file it is, and the origins of what is in it."""
    run = TrainedRun.of(path)
    if run is not None and path.is_file():
        yield WeightOrigin(
            f"stage {run.stage} of the run {run.name} (SHA-256 {file_digest(path)}), whose own are:", None
        )
    yield from weight_origins(path, seen)


def of_settings(network: dict[str, Any], seen: frozenset[Path]) -> Iterator[WeightOrigin]:
    """Yield the origins of a network that was built from such settings."""
    if network.get("checkpoint"):
        yield from of_checkpoint(as_path(str(network["checkpoint"])), seen)
    elif network.get("pretrained"):
        yield published_weights(network.get("network") or UNKNOWN, network.get("options", {}).get("encoder"))
    else:
        yield WeightOrigin("random initial weights", None)


def published_weights(name: str, encoder: str | None = None) -> WeightOrigin:
    """Return the published weights of a network, with the licence that timm's or torchvision's description has.

    Args:
        name: of the network.
        encoder: classification network that it is built on, where one was named.
    """
    try:
        origin, own_name = resolve(name)
    except ValueError:  # of a package that is not installed
        return WeightOrigin(f"published weights of {name}")
    if own_name in ON_ENCODERS:
        return published_weights(encoder or signature(ON_ENCODERS[own_name]).parameters["encoder"].default or UNKNOWN)
    if own_name in DEFORMABLE:
        return of_timm(own_name.removeprefix(PREFIX))
    if origin is TIMM:
        return of_timm(own_name)
    if origin is TORCHVISION or own_name in OF_TORCHVISION:
        return of_torchvision(own_name)
    return WeightOrigin(f"published weights of {name}" + (f" with the encoder {encoder}" if encoder else ""))


def of_timm(name: str) -> WeightOrigin:
    """Return the weights that timm takes for a name, with the licence in their ``pretrained_cfg``."""
    config = timm.get_pretrained_cfg(name)
    hub = getattr(config, "hf_hub_id", None)
    return WeightOrigin(f"published weights {hub or name}", getattr(config, "license", None) or UNKNOWN, hub)


def of_torchvision(name: str) -> WeightOrigin:
    """Return the weights that torchvision has as its best of a name; it names a licence of few."""
    weights = models.get_model_weights(name).DEFAULT
    made = f"published weights {weights} of torchvision, made as {weights.meta['recipe']} says"
    return WeightOrigin(made, weights.meta.get("license", UNKNOWN))
