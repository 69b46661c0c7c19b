"""Tests of the HIP runtimes of our own."""
