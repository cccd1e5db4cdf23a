"""Networks by name, each with its normalisation."""

from lightning_modules.networks.network import Network, NetworkSpec, count_parameters
from lightning_modules.networks.registry import available_networks, create_network

__all__ = ["Network", "NetworkSpec", "available_networks", "count_parameters", "create_network"]
