"""Scikit-learn's handwritten digits: 1,797 real 8×8 images that come with the library."""

import torch
from sklearn.datasets import load_digits

from datamodules.sources.source import PixelArray, Samples, Source
from datamodules.sources.statistics import channel_statistics

CITATION = "Alpaydin, E. and Kaynak, C. (1998). Optical Recognition of Handwritten Digits. UCI Repository."


def digits() -> Source:
    """Return the digits; ids are the positions in scikit-learn's array.

    The set is published as one piece. Every fourth sample of each class, in the published order, is the
    test split (445 of 1,797), the same for every seed.
    """
    data = load_digits()
    grey = torch.from_numpy(data.images).mul(255 / 16).round().to(torch.uint8).unsqueeze(1)
    targets = torch.from_numpy(data.target).long()
    everything = Samples(PixelArray(grey), torch.arange(len(grey)), torch.arange(len(grey)), targets)

    occurrence = torch.empty_like(targets)
    for label in range(10):
        of_label = (targets == label).nonzero().squeeze(1)
        occurrence[of_label] = torch.arange(len(of_label))
    is_test = occurrence % 4 == 3
    train = everything.select((~is_test).nonzero().squeeze(1))
    mean, std = channel_statistics(train)
    return Source(
        name="digits",
        class_names=tuple(str(label) for label in data.target_names),
        citation=CITATION,
        train=train,
        test=everything.select(is_test.nonzero().squeeze(1)),
        mean=mean,
        std=std,
    )
