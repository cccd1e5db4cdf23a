"""What data modules share whose training batches join labelled images with others."""

from lightning import LightningDataModule
from torch.utils.data import DataLoader

from datamodules.batch import PixelBatch
from datamodules.labeled import LabeledDataModule
from datamodules.sources.source import Samples


class TwoStreamDataModule(LightningDataModule):
    """Labelled images with a second stream beside them; evaluation is that of the labelled data.

    Args:
        labeled: the labelled data.
        batch_size: images of the second stream in a training batch, over all processes together.
    """

    steps_per_epoch: int

    def __init__(self, labeled: LabeledDataModule, batch_size: int) -> None:
        super().__init__()
        self.labeled = labeled
        self.batch_size = batch_size

    @property
    def split(self) -> dict[str, object]:
        """What decides which samples are trained on, validated on and tested on."""
        return self.labeled.split

    @property
    def num_images(self) -> dict[str, int]:
        """Number of images with labels to train on, of the second stream, for validation, for tests."""
        return self.labeled.num_images

    @property
    def test(self) -> Samples:
        """The test samples."""
        return self.labeled.test

    @property
    def images_per_step(self) -> int:
        """Images of a training batch, over both streams and all processes."""
        return self.labeled.batch_size + self.batch_size

    @property
    def num_classes(self) -> int:
        """Number of classes ``K``."""
        return self.labeled.num_classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """``K`` names, in the order of the class indices."""
        return self.labeled.class_names

    def val_dataloader(self) -> DataLoader[PixelBatch]:
        """Return the validation samples, each once."""
        return self.labeled.val_dataloader()

    def test_dataloader(self) -> DataLoader[PixelBatch]:
        """Return the test samples, each once."""
        return self.labeled.test_dataloader()
