"""Measure which kernel is fastest for which number of tokens, and write the table."""
