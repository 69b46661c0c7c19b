"""Timing, statistics, search, sweep and verification."""
