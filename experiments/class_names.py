"""The classes that a checkpoint was trained on, by name."""

from itertools import zip_longest

from datamodules.sources.source import Source
from lightning_modules.weights import read_file


def require_same_classes(checkpoint: str, source: Source, option: str) -> None:
    """Raise a ``ValueError`` where a checkpoint was trained on other classes, or on the same in another order.

    What does not say its classes passes: state dictionaries, and checkpoints written before they were noted.

    Args:
        checkpoint: the file.
        source: the images, whose classes are expected.
        option: by which the user named the checkpoint.
    """
    trained = read_file(checkpoint).get("class_names")
    if trained is None or tuple(trained) == source.class_names:
        return
    pairs = enumerate(zip_longest(trained, source.class_names))
    index, (theirs, ours) = next((index, pair) for index, pair in pairs if pair[0] != pair[1])
    raise ValueError(
        f"{option}: got {checkpoint}, whose class {index} is {theirs!r}, expected a network trained on the classes of "
        f"{source.name} in their order, where it is {ours!r}; give --data.classes as it was in training, or choose "
        "another checkpoint"
    )
