"""Crossover tables: schema and validation, atomic store, export."""
