"""Describe a table as JSON Schema, for editors and for readers of `export --format json`.

`python -m moesort_tune.tables.json_schema > docs/table.schema.json` writes the page; a test compares it.
"""

import inspect
from typing import Any

import msgspec

from moesort_tune.tables.schema import Table


def build_schema() -> dict[str, Any]:
    """Return the schema, draft 2020-12. It cannot say everything that validation.py checks."""
    described = _translate_patterns(msgspec.json.schema(Table))
    for record in described["$defs"].values():
        record["description"] = inspect.cleandoc(record["description"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "moesort-tune table",
        "description": "Which sorting kernel is chosen from how many tokens on, by device, kernels and timing.",
        **described,
    }


def _translate_patterns(described: Any) -> Any:
    """Translate regular expressions: JSON Schema's are JavaScript's, whose `$` is Python's `\\Z`."""
    if isinstance(described, dict):
        items = {key: _translate_patterns(value) for key, value in described.items()}
        return items | {"pattern": items["pattern"].replace(r"\Z", "$")} if "pattern" in items else items
    return [_translate_patterns(value) for value in described] if isinstance(described, list) else described


def format_schema() -> str:
    """Return the schema as docs/table.schema.json holds it."""
    return msgspec.json.format(msgspec.json.encode(build_schema()), indent=2).decode() + "\n"


if __name__ == "__main__":
    print(format_schema(), end="")
