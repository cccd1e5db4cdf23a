"""The listing of networks: name, parameters, input, where from."""

import difflib
from collections import Counter

from experiments.commands import NetworksCommand
from lightning_modules.networks import FEATURED, NetworkDescription, available_networks, describe_network
from lightning_modules.networks.names import resolve

HEADINGS = ("network", "parameters", "input", "from")


def run(command: NetworksCommand) -> list[NetworkDescription]:
    """Print a row a network, each as soon as it is known, and return the rows.

    Raises:
        ValueError: no name matches the filter.
    """
    families = FEATURED if command.filter is None else {"": matching(command.filter)}
    names = [name for family in families.values() for name in family]
    width = max(map(len, names))
    print(format_row(HEADINGS, width), flush=True)
    described = []
    for family, members in families.items():
        if family:
            print(family)
        for name in members:
            described.append(describe_network(name, num_classes=command.num_classes, num_channels=command.num_channels))
            print(format_row(cells(described[-1]), width), flush=True)
    print(
        f"\nParameters for {command.num_classes} classes and {command.num_channels} channels; input: side in pixels of "
        "the images that the published weights were trained on."
    )
    if command.filter is None:
        print(count_others(described))
    return described


def matching(pattern: str) -> tuple[str, ...]:
    """Return the names that match.

    Raises:
        ValueError: none does; the message offers the nearest names.
    """
    names = available_networks(pattern)
    if names:
        return tuple(names)
    nearest = difflib.get_close_matches(pattern.strip("*?"), available_networks(), n=3, cutoff=0.5)
    offer = f"did you mean {' or '.join(nearest)}?" if nearest else "without it, each family's networks are listed"
    raise ValueError(f"filter: got {pattern!r}, expected a pattern that some name matches, such as '*res*'; {offer}")


def cells(network: NetworkDescription) -> tuple[str, str, str, str]:
    """Return a network's row as text; a dash where no input size is published."""
    size = "–" if network.input_size is None else str(network.input_size)
    return network.name, f"{network.parameters / 1e6:,.2f} M", size, network.origin


def format_row(values: tuple[str, str, str, str], width: int) -> str:
    """Return a line with the name in ``width`` characters, numbers aligned at the right."""
    name, parameters, size, origin = values
    return f"  {name:<{width}}  {parameters:>11}  {size:>5}  {origin}"


def count_others(listed: list[NetworkDescription]) -> str:
    """Return a sentence: how many networks are not listed, and how to list them."""
    others = set(available_networks()) - {network.name for network in listed}
    counts = Counter(resolve(name)[0].name for name in others)
    more = ", ".join(f"{counts[origin]:,} of {origin}" for origin in ("timm", "torchvision", "ours", "segmentation"))
    return f"{len(others):,} more ({more}), listed by a filter: python -m experiments networks --filter '*res*'"
