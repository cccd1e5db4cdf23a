import subprocess
import sys

import pytest

from datamodules.sources import SOURCES, create_source


def test_unknown_name_offers_the_nearest_and_lists_all():
    with pytest.raises(
        ValueError, match=r"--data.source cifar: unknown; did you mean cifar10.*expected one of digits"
    ) as error:
        create_source("cifar")
    assert all(name in str(error.value) for name in SOURCES)


def test_unknown_name_far_from_all_offers_none():
    with pytest.raises(ValueError, match=r"--data.source zzz: unknown; expected one of"):
        create_source("zzz")


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("digits", {"image_size": 28}, r"--data.image_size 28: the source digits has no such option \(it has: none\)"),
        ("digits", {"max_bad_images": 0}, "--data.max_bad_images 0: the source digits has no such option"),
        ("image_folder", {"download": True}, r"--data.download True: .* image_folder .*it has: --data.root, "),
        ("cifar10", {"cache": "somewhere"}, r"--data.cache somewhere: .*it has: --data.root, --data.download"),
    ],
)
def test_an_option_the_source_lacks_is_an_error(name, options, text):
    with pytest.raises(ValueError, match=text):
        create_source(name, **options)


def test_importing_the_registry_imports_nothing_heavy():
    heavy = "('torch', 'torchvision', 'PIL', 'numpy')"
    code = f"import sys, datamodules.sources; print([name for name in {heavy} if name in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.strip() == "[]"
