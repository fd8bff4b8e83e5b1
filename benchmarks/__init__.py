"""Figures that the project states, each by a command: `python -m benchmarks [name ...]`."""
