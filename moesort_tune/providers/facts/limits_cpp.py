"""The limits of oneshot as C++ source text, for the exported header. A test compares it with Python for every shape.

The text defines `constexpr int oneshot_max_tokens(int num_experts, int topk, int lds_bytes)`, all but the last >= 1.
"""

from string import Template

from moesort_tune.providers.facts import aiter_rule
from moesort_tune.sorting import sizes

_BUILTIN = Template("""\
// Largest token count that the kernels' bits of every (token, expert) leave room for in the LDS of a workgroup,
// and whose pairs 16 bits count.
constexpr int oneshot_max_tokens(int num_experts, int topk, int lds_bytes) {
  const int shared = lds_bytes - ${fixed};
  if (num_experts > shared / ${per_expert}) return 0;
  const int words = (shared - ${per_expert} * num_experts) / (${per_word} * num_experts);
  const int countable_words = ${most_pairs} / topk / ${word_tokens};
  return (words < countable_words ? words : countable_words) * ${word_tokens};
}
""")

_AITER = Template("""\
// AITER's oneshot loops over any number of tokens when told to, but never ends from ${endless} experts on.
constexpr int oneshot_max_tokens(int num_experts, int /*topk*/, int /*lds_bytes*/) {
  return num_experts < ${endless} ? ${most} : -1;
}
""")


def limit_in_cpp(provider: str) -> str:
    """The function's text for the builtin kernels or for AITER's."""
    if provider == "aiter":
        endless = next(e for e in range(1, 1 << 16) if aiter_rule.aiter_forced_oneshot_max_tokens(e) < 0)
        return _AITER.substitute(endless=endless, most=aiter_rule.aiter_forced_oneshot_max_tokens(1))
    return _BUILTIN.substitute(
        fixed=sizes.LDS_BYTES_FIXED + sizes.LDS_VECTOR_BYTES,
        per_expert=sizes.LDS_BYTES_PER_EXPERT,
        per_word=sizes.LDS_BYTES_PER_WORD,
        word_tokens=sizes.WORD_TOKENS,
        most_pairs=sizes.MAX_PAIRS_IN_16_BITS,
    )
