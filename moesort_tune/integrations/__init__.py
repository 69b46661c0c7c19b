"""Serving frameworks: a table decides for the sorting calls inside them."""
