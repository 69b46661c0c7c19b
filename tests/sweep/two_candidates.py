"""Switch points as this project found them while it knew two kernels: what any number of them is compared with."""

from collections.abc import Iterator, Mapping

ONESHOT, MULTIPHASE, TIE = "oneshot", "multiphase", "tie"

Span = tuple[int, int, str]


def find_two_candidates_switch_points(
    verdicts: Mapping[int, str], oneshot_max_tokens: int
) -> tuple[list[tuple[int, str]], list[tuple[int, int]]]:
    """Return policy and ties for verdicts 'oneshot', 'multiphase' and 'tie'."""
    if oneshot_max_tokens < 1:
        return [(1, MULTIPHASE)], []
    legal = {tokens: verdict for tokens, verdict in verdicts.items() if tokens <= oneshot_max_tokens}
    spans = _merge(_list_spans(legal))
    ties = [(first, last) for first, last, verdict in spans if verdict == TIE]
    return _build_policy(spans, oneshot_max_tokens), ties


def find_two_candidates_witnesses(verdicts: Mapping[int, str]) -> list[int]:
    """Return the first win of each stretch of measured counts in which one kernel wins, ties aside."""
    first_wins: list[int] = []
    for tokens in sorted(verdicts):
        verdict = verdicts[tokens]
        if verdict != TIE and (not first_wins or verdicts[first_wins[-1]] != verdict):
            first_wins.append(tokens)
    return first_wins if len(first_wins) > 1 else []


def _list_spans(verdicts: Mapping[int, str]) -> Iterator[Span]:
    previous: int | None = None
    for tokens in sorted(verdicts):
        verdict = verdicts[tokens]
        if previous is not None and tokens - previous > 1:
            yield previous + 1, tokens - 1, verdict if verdicts[previous] == verdict else TIE
        yield tokens, tokens, verdict
        previous = tokens


def _merge(spans: Iterator[Span]) -> list[Span]:
    result: list[Span] = []
    for span in spans:
        if result and result[-1][2] == span[2]:
            result[-1] = (result[-1][0], span[1], span[2])
        else:
            result.append(span)
    return result


def _build_policy(spans: list[Span], oneshot_max_tokens: int) -> list[tuple[int, str]]:
    decided = [span for span in spans if span[2] != TIE]
    starts_in_tie = bool(spans) and spans[0][2] == TIE
    opening = [(1, ONESHOT)] if starts_in_tie or not decided else []
    choices = [(first if opening or index else 1, verdict) for index, (first, _, verdict) in enumerate(decided)]
    steps = [*opening, *choices, (oneshot_max_tokens + 1, MULTIPHASE)]
    return [step for index, step in enumerate(steps) if index == 0 or steps[index - 1][1] != step[1]]
