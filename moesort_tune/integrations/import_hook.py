"""Call a function when a module is imported, without importing it."""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Sequence
from types import ModuleType

Action = Callable[[ModuleType], None]


class WhenImported(importlib.abc.MetaPathFinder):
    """Call `action` with the module `name` after each of its imports, between `start` and `stop`."""

    def __init__(self, name: str, action: Action) -> None:
        self._name = name
        self._action = action
        self._looking = False
        self._is_watching = False

    def start(self) -> None:
        """Watch imports from now on. Call the action at once if the module is imported already."""
        self._is_watching = True
        sys.meta_path.insert(0, self)
        module = sys.modules.get(self._name)
        if module is not None:
            self._action(module)

    def stop(self) -> None:
        """Stop watching, also the loaders that were found before."""
        self._is_watching = False
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the interface of finders
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        """Find the module by the other finders, and have its loader call the action after it has run."""
        if fullname != self._name or self._looking:
            return None
        self._looking = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._looking = False
        if spec is not None and spec.loader is not None:
            self._follow(spec.loader)
        return spec

    def _follow(self, loader: importlib.abc.Loader) -> None:
        """Have `loader` call the action after each run of the module."""
        run = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            if self._is_watching:
                self._action(module)

        # Patch this one instance: it stays the loader that other code asks for source and resources.
        loader.exec_module = exec_module  # type: ignore[method-assign]
