"""Something to be done when a module is imported, without importing it."""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Sequence
from types import ModuleType

Action = Callable[[ModuleType], None]


class WhenImported(importlib.abc.MetaPathFinder):
    """Calls `action` with the module `name` each time after it was imported, between `start` and `stop`."""

    def __init__(self, name: str, action: Action) -> None:
        self._name = name
        self._action = action
        self._looking = False

    def start(self) -> None:
        """Acts at once where the module is there already."""
        sys.meta_path.insert(0, self)
        module = sys.modules.get(self._name)
        if module is not None:
            self._action(module)

    def stop(self) -> None:
        """Acts no more."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the interface of finders
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        """Lets the others find the module, and has its loader act after it has run."""
        if fullname != self._name or self._looking:
            return None
        self._looking = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._looking = False
        if spec is not None and spec.loader is not None:
            self._act_after(spec.loader)
        return spec

    def _act_after(self, loader: importlib.abc.Loader) -> None:
        run = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            self._action(module)

        # On this one instance, which stays what it is for everyone who asks it for source or resources.
        loader.exec_module = exec_module  # type: ignore[method-assign]
