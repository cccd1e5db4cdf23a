"""Comparisons of settings over seeds."""
