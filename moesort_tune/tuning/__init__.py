"""From timings to a table: timing, statistics, search for switch points, sweep, verification."""
