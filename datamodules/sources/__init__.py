"""Sources of images, each with its published splits, by name."""

from datamodules.sources.registry import MASK_SOURCES, SOURCES, create_source

__all__ = ["MASK_SOURCES", "SOURCES", "create_source"]
