"""Packages of frameworks of which single modules are imported."""

import sys
import types
from typing import Any


def add_bare_package(name: str, *folders: str, **members: Any) -> None:
    """Add a package whose modules can be imported, but which itself imports nothing: its dependencies are not here."""
    bare = types.ModuleType(name)
    bare.__path__ = list(folders)
    vars(bare).update(members)
    sys.modules[name] = bare
