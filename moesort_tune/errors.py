"""The one exception family that the command line turns into a sentence."""


class MoesortTuneError(Exception):
    """A failure told in one sentence: what happened, the values, the next step."""
