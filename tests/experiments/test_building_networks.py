"""Networks that the settings name, for images that the settings name."""

import pytest

from datamodules.sources import create_source
from experiments.building_networks import build_network
from experiments.network_settings import NetworkSettings
from lightning_modules.checkpoints import AtomicCheckpointIO
from lightning_modules.classification import ClassificationModule
from lightning_modules.networks import create_network


def test_a_segmentation_network_classifies_no_images(source, tmp_path):
    with pytest.raises(ValueError, match=r"student\.network: got unet, a segmentation network"):
        build_network(NetworkSettings(network="unet"), source, seed=0, option="student")
    network = create_network("unet", num_classes=3, num_channels=1, width=4, depth=1)
    module = ClassificationModule(network, 3)
    content = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(content)
    AtomicCheckpointIO().save_checkpoint(content, tmp_path / "unet.ckpt")
    with pytest.raises(ValueError, match=r"teacher\.network: got unet"):
        build_network(NetworkSettings(checkpoint=str(tmp_path / "unet.ckpt")), source, seed=0, option="teacher")


def test_where_targets_are_masks_it_is_built():
    scenes = create_source("digit_scenes", num_scenes=4, side=32)
    settings = NetworkSettings(network="unet", options={"width": 4, "depth": 1})
    network = build_network(settings, scenes, seed=0, option="student")
    assert network(scenes.train.images(scenes.train.rows[:2]).float() / 255).shape == (2, 11, 32, 32)
