"""Proof of use: what came of each sorting call in the serving processes, written by them and judged by `audit`."""
