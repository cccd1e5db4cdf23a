"""MNIST and Fashion-MNIST: 60,000 + 10,000 grey images of 28×28, in IDX files."""

from pathlib import Path

from datamodules.sources.idx import has_idx_files, read_idx_split
from datamodules.sources.in_memory import DEFAULT_ROOT, in_memory_source, missing_data, read_published
from datamodules.sources.source import Source

MNIST_CITATION = (
    "LeCun, Y., Bottou, L., Bengio, Y. and Haffner, P. (1998). Gradient-Based Learning Applied to Document "
    "Recognition. Proceedings of the IEEE 86(11)."
)
FASHION_MNIST_CITATION = (
    "Xiao, H., Rasul, K. and Vollgraf, R. (2017). Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine "
    "Learning Algorithms. arXiv:1708.07747."
)
FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


def mnist(root: Path | None = None, download: bool = False) -> Source:
    """Return MNIST; the files are looked for in ``root/MNIST/raw``, where torchvision has them, and in ``root``.

    Raises:
        ValueError: if they are not there or are damaged.
    """
    folder = find_folder("mnist", "MNIST", root, download)
    return in_memory_source(
        "mnist",
        tuple(str(digit) for digit in range(10)),
        MNIST_CITATION,
        train=read_idx_split(folder, "train"),
        test=read_idx_split(folder, "t10k"),
    )


def fashion_mnist(root: Path | None = None, download: bool = False) -> Source:
    """Return Fashion-MNIST; the files are also found where Debian's ``dataset-fashion-mnist`` puts them.

    Raises:
        ValueError: if they are nowhere or are damaged.
    """
    folder = find_folder("fashion_mnist", "FashionMNIST", root, download, DEBIAN_FASHION_MNIST)
    return in_memory_source(
        "fashion_mnist",
        FASHION_CLASSES,
        FASHION_MNIST_CITATION,
        train=read_idx_split(folder, "train"),
        test=read_idx_split(folder, "t10k"),
    )


def find_folder(
    name: str, torchvision_name: str, root: Path | None, download: bool, packaged: Path | None = None
) -> Path:
    """Return the folder with the four files, downloaded if asked and needed."""
    top = root or DEFAULT_ROOT
    folders = [top / torchvision_name / "raw", top] + ([packaged] if packaged else [])
    for folder in folders:
        if has_idx_files(folder):
            return folder
    if not download:
        remedy = f"(or, on Debian and Ubuntu: apt-get install {DEBIAN_PACKAGE})" if packaged else ""
        raise missing_data(name, folders, remedy)

    from torchvision import datasets

    read_published(name, folders[0], lambda: getattr(datasets, torchvision_name)(str(top), download=True))
    return folders[0]


DEBIAN_PACKAGE = "dataset-fashion-mnist"
