"""The one extension mechanism: a registry that a decorator adds to, and that menus, tables and tests read."""

import pkgutil
import threading
from collections.abc import Iterator
from importlib import import_module
from typing import Generic, TypeVar

from medwb.errors import unknown_name

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """Named entries of one kind, in the order in which they were added.

    Args:
        noun: What an entry is called in messages ("architecture").
        package: Dotted name of the package whose modules add the entries; they are imported at the first
            look-up, so that a new file in that package is found without being named anywhere.
    """

    def __init__(self, noun: str, package: str | None = None) -> None:
        self.noun = noun
        self._package = package
        self._loading = threading.RLock()  # two sessions of a page may be the first to look at once
        self._begun = False
        self._entries: dict[str, Entry] = {}

    def add(self, name: str, entry: Entry) -> None:
        """Add an entry. Raises ValueError when the name is taken: two entries must not hide one another."""
        if name in self._entries:
            raise ValueError(f"{self.noun} {name!r} is registered twice")
        self._entries[name] = entry

    def names(self) -> list[str]:
        """Names of all entries, in the order in which they were added."""
        return list(self._loaded())

    def get(self, name: str) -> Entry:
        """Return the entry of that name. Raises RequestError, with the nearest names, when there is none."""
        entries = self._loaded()
        if name not in entries:
            raise unknown_name(self.noun, name, entries)
        return entries[name]

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._loaded().values())

    def _loaded(self) -> dict[str, Entry]:
        if self._package is not None:
            with self._loading:
                if not self._begun:
                    self._begun = True  # a module that looks up while it is imported sees what is there
                    package = import_module(self._package)
                    for module in pkgutil.iter_modules(package.__path__):
                        import_module(f"{self._package}.{module.name}")
                    self._package = None
        return self._entries
