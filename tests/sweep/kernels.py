"""Two of the builtin kernels, one with a limit and one without, and their verdicts, by short names."""

from moesort_tune.domain import vocabulary
from moesort_tune.domain.candidates import Limits
from moesort_tune.domain.vocabulary import MAX_TOKENS
from moesort_tune.measure.verdict import Verdict

ONESHOT, MULTIPHASE = vocabulary.ONESHOT.name, vocabulary.MULTIPHASE.name
KERNELS = (ONESHOT, MULTIPHASE)
ONE, MANY, TIE = Verdict((ONESHOT,)), Verdict((MULTIPHASE,)), Verdict(KERNELS)
VERDICTS = (ONE, MANY, TIE)


def make_limits(oneshot_max_tokens: int) -> Limits:
    """Return the limits of these two kernels."""
    return {ONESHOT: oneshot_max_tokens, MULTIPHASE: MAX_TOKENS}
