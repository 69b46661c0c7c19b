"""Lines of samples files that were written with fewer columns, as lines of today's."""

import re
from typing import Final

from moesort_tune.domain.vocabulary import MULTIPHASE, ONESHOT

_FIRST_COLUMNS: Final = (
    *("date", "arch", "compute_units", "provider", "revision", "timing", "num_experts", "topk", "tokens", "kernel"),
    *("median_us", "low_us", "high_us", "samples", "note", "settings", "verdict", "noise"),
    *("ratio", "ratio_low", "ratio_high"),
)
"""Of the time when the note was the only place for whatever else was known."""

_TWO_KERNEL_COLUMNS: Final = (*_FIRST_COLUMNS, "settled", "dropped", "confirmed", "device", "software")
"""Of the time when oneshot and multiphase were all there was to compare."""

OLDER_COLUMNS: Final = (_FIRST_COLUMNS, _TWO_KERNEL_COLUMNS)

_RATIO: Final = ("ratio", "ratio_low", "ratio_high")
_VERDICTS: Final = {
    ONESHOT.name: ONESHOT.name,
    MULTIPHASE.name: MULTIPHASE.name,
    "tie": f"{ONESHOT.name}={MULTIPHASE.name}",
}


def translate(line: dict[str, str]) -> dict[str, str]:
    """Return the fields of a line of OLDER_COLUMNS, by name, as a line of today says it.

    Raise ValueError or KeyError for a line that says nothing.
    """
    return {
        **({} if "settled" in line else _read_note(line["note"])),
        **line,
        "moe_buf": "true",
        "masked": str(int(_read_setting(line["settings"], "ep")) > 1).lower(),
        "verdict": _VERDICTS[line["verdict"]],
        **_compare_with_fastest(line),
    }


def _read_note(note: str) -> dict[str, str]:
    """Return the fields that a note holds as text."""
    dropped = re.search(r"(\d+) dropped", note)
    return {
        "settled": str("stopped at the limit" not in note).lower(),
        "dropped": dropped[1] if dropped else "0",
        "confirmed": str(note.startswith("both times")).lower(),
    }


def _read_setting(settings: str, name: str) -> str:
    """Return one value of 'unit_size=32;ep=1;...', '1' where it is not named."""
    return dict(part.partition("=")[::2] for part in settings.split(";")).get(name, "1")


def _compare_with_fastest(line: dict[str, str]) -> dict[str, str]:
    """Return the ratio on the slower kernel's line only: it stood on both, as oneshot over multiphase."""
    if not line["ratio"]:
        return {"against": ""}
    fastest = ONESHOT.name if float(line["ratio"]) <= 1 else MULTIPHASE.name
    return {"against": "", **dict.fromkeys(_RATIO, "")} if line["kernel"] == fastest else {"against": fastest}
