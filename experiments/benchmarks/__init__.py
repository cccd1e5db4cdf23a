"""Benchmarks: our code against its peers, interleaved in one process."""
