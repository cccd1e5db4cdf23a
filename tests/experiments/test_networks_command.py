"""``networks``: which rows it prints, and what it says where there are none."""

import re

import pytest

from experiments import networks
from experiments.command_line import carry_out
from experiments.commands import NetworksCommand
from lightning_modules.networks import FEATURED, available_networks, create_network, featured_networks


def rows(text: str) -> dict[str, list[str]]:
    """Return the printed rows by name: millions of parameters, input size, origin."""
    found = re.findall(r"^  (\S+) +([\d,.]+) M +(\d+|–)  (\w+)$", text, re.MULTILINE)
    return {name: list(values) for name, *values in found}


def test_a_filter_lists_what_matches_with_the_parameters_of_the_network(capsys):
    assert carry_out("networks", NetworksCommand(filter="wrn_16*", num_classes=10), debug=True) == 0
    found = rows(capsys.readouterr().out)
    assert list(found) == ["wrn_16_1", "wrn_16_2"]
    for name, (millions, size, origin) in found.items():
        network = create_network(name, num_classes=10)
        assert float(millions) == round(sum(p.numel() for p in network.parameters()) / 1e6, 2)
        assert (size, origin) == ("–", "ours")


def test_published_counts_and_sizes(capsys):
    carry_out("networks", NetworksCommand(filter="mobilenetv3_small_1*"), debug=True)
    assert rows(capsys.readouterr().out) == {"mobilenetv3_small_100": ["2.54", "224", "timm"]}
    carry_out("networks", NetworksCommand(filter="torchvision/resnet18"), debug=True)
    assert rows(capsys.readouterr().out) == {"torchvision/resnet18": ["11.69", "224", "torchvision"]}


def test_without_a_filter_the_families_are_listed_and_the_others_counted(capsys, monkeypatch):
    small = {"LeNet": FEATURED["LeNet"], "Wide ResNet": FEATURED["Wide ResNet"]}
    monkeypatch.setattr(networks, "FEATURED", small)
    described = networks.run(NetworksCommand())
    text = capsys.readouterr().out
    assert list(rows(text)) == [name for names in small.values() for name in names] == [d.name for d in described]
    assert all(f"\n{family}\n" in text for family in small)
    assert f"{len(available_networks()) - 5:,} more" in text
    assert "--filter '*res*'" in text


def test_every_featured_network_is_available():
    assert set(featured_networks()) <= set(available_networks())


@pytest.mark.parametrize(
    ("pattern", "hint"), [("*wrn_61_2*", "did you mean wrn_16_2"), ("qqqq", "each family's networks are listed")]
)
def test_no_match_is_bad_input_with_the_nearest_names(capsys, pattern, hint):
    assert carry_out("networks", NetworksCommand(filter=pattern), debug=False) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert f"filter: got {pattern!r}, expected a pattern that some name matches" in said.err
    assert hint in said.err
    assert len(said.err.splitlines()) == 1


def test_counts_out_of_range_are_refused():
    with pytest.raises(ValueError, match="num_classes: got 0, expected 1 or more"):
        NetworksCommand(num_classes=0)
    with pytest.raises(ValueError, match="filter: got '', expected a pattern"):
        NetworksCommand(filter="")
