"""Networks by name, each with its normalisation."""

from lightning_modules.networks.description import NetworkDescription, describe_network
from lightning_modules.networks.featured import FEATURED, featured_networks
from lightning_modules.networks.names import available_networks
from lightning_modules.networks.network import Network, NetworkSpec, count_parameters
from lightning_modules.networks.registry import create_network

__all__ = [
    "FEATURED",
    "Network",
    "NetworkDescription",
    "NetworkSpec",
    "available_networks",
    "count_parameters",
    "create_network",
    "describe_network",
    "featured_networks",
]
