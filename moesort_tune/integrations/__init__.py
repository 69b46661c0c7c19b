"""Serving frameworks: what makes a table decide inside of them."""
