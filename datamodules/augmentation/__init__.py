"""Batched augmentation: every operation is one call on the whole batch and is steered by per-sample keys."""
