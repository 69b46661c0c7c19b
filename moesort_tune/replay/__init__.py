"""Replay the sorting steps of a serving run, once by each policy."""
