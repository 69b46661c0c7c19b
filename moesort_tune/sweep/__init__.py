"""Measure which kernel is faster for which number of tokens, and write the table."""
