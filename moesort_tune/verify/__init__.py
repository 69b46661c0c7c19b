"""Measure what a table's choices cost at token counts that no sweep measured."""
