"""Sources of images, each with its published splits, by name."""

from datamodules.sources.registry import SOURCES, create_source

__all__ = ["SOURCES", "create_source"]
