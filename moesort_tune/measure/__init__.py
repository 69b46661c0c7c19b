"""The timing engine: stopwatch, timers, interleaved rounds, stopping rule, ranking. Times work of any kind."""
