"""Ctrl-C, where there is something to say of what it left."""


class InterruptedWorkError(KeyboardInterrupt):
    """Ctrl-C, with what was kept and how to go on as its text. No MoesortTuneError: nothing failed."""
