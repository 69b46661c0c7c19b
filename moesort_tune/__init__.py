"""Decides by measurement which mixture-of-experts sorting kernel runs: oneshot or multiphase."""

__version__ = "0.1.0"
