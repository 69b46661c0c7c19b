"""The timing engine: stopwatch, timers, interleaved rounds, stopping rule, ranking. Knows nothing of sorting."""
