"""The images that an export is checked on."""

from dataclasses import dataclass

import torch
from torch import Tensor

from datamodules.batch import unit_interval
from datamodules.sources.source import Source
from experiments.building import build_source
from experiments.building_networks import require_fits
from experiments.class_names import require_same_classes
from experiments.exports.settings import ExportCommand
from experiments.exports.trained_run import TrainedRun
from lightning_modules.networks import Network
from lightning_modules.settings import require


@dataclass(frozen=True)
class CheckImages:
    """Images that an exported network is checked on.

    Attributes:
        pixels: ``(N, C, H, W)`` in ``[0, 1]``, each another.
        origin: where they are from, as a message says it.
        source: likewise, ``None`` for random ones.
    """

    pixels: Tensor
    origin: str
    source: Source | None = None

    def batch(self, size: int) -> Tensor:
        """Return ``size`` images ``(size, C, H, W)``, from the first again where there are fewer."""
        return self.pixels[torch.arange(size) % len(self.pixels)]


def find_images(command: ExportCommand, network: Network, run: TrainedRun | None) -> CheckImages:
    """Return test images of the source that the user named, else of the run's, else random ones.

    Raises:
        ValueError: the source cannot be read or is not what the network was trained on, or no size is known.
    """
    if command.data is None and run is None:
        return random_images(command, network)
    require(command.image_size is None, "image_size", command.image_size, "null: the data say the images' size")
    source = find_source(command, run)
    require_fits(network, source, f"checkpoint {command.checkpoint}")
    require_same_classes(command.checkpoint, source, "checkpoint")
    pixels, _ = source.test.read(torch.arange(min(command.batch_size, len(source.test))))
    require(len(pixels) > 0, "data.source", source.name, "a source with test images that can be read")
    return CheckImages(unit_interval(pixels), f"{len(pixels)} images of the test split of {source.name}", source)


def find_source(command: ExportCommand, run: TrainedRun | None) -> Source:
    """Return the source that the user named, else the run's.

    Raises:
        ValueError: it cannot be read.
    """
    if command.data is not None:
        return build_source(command.data)
    assert run is not None, "there is a run where there are no data"
    try:
        return build_source(run.data_settings())
    except ValueError as error:
        raise ValueError(f"{error}; {run.directory} says these images, --data.source takes others") from error


def random_images(command: ExportCommand, network: Network) -> CheckImages:
    """Return uniform noise of the size that the user, or the network, says.

    Raises:
        ValueError: neither does.
    """
    spec = network.spec
    side = command.image_size or spec.input_size
    expected = f"the side in pixels of the images of {spec.name}, or --data.source: {command.checkpoint} lies in no run"
    require(side is not None, "image_size", None, expected)
    assert side is not None, "it was asked for"
    shape = (command.batch_size, spec.num_channels, side, side)
    pixels = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    return CheckImages(pixels, f"{len(pixels)} random images, no real ones: neither a run nor --data.source names any")
