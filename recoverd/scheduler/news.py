"""What watching a service has told: which directories changed, bounded, and whether anything did."""

from __future__ import annotations

from collections.abc import Mapping

from recoverd.recovery.partial import MOST_HINTS, Hints


class News:
    """Gathers what events name, until somebody takes it. When it is too much, or not known, it is everything."""

    def __init__(self, *, everything: bool = False) -> None:
        self.everything = everything
        self.told = int(everything)  # how often something was told that a capture is made for
        self._directories: dict[str, set[str]] = {}  # by item
        self._subtrees: dict[str, set[str]] = {}
        self._count = 0

    def changed(self, item: str, below: str) -> None:
        """A document of this directory changed."""
        self.told += 1
        self._add(self._directories, item, below)

    def touched(self, item: str, below: str) -> None:
        """Only the directory's own times changed: whoever looks anyway looks there too."""
        self._add(self._directories, item, below)

    def appeared(self, item: str, below: str) -> None:
        """A directory was made here, moved here, or is no longer what it was; "" is the whole item."""
        self.told += 1
        self._add(self._subtrees, item, below)

    def all_changed(self) -> None:
        """What changed is not known."""
        self.everything = True
        self.told += 1
        self._directories.clear()
        self._subtrees.clear()

    def add(self, hints: Mapping[str, Hints], *, is_news: bool) -> None:
        """What was taken and could not be used, or what must be looked at next time as well."""
        self.told += is_news
        for item, one in hints.items():
            for below in one.directories:
                self._add(self._directories, item, below)
            for below in one.subtrees:
                self._add(self._subtrees, item, below)

    def hints(self) -> dict[str, Hints]:
        """By item, what to look at."""
        return {
            item: Hints(frozenset(self._directories.get(item, ())), frozenset(self._subtrees.get(item, ())))
            for item in self._directories.keys() | self._subtrees.keys()
        }

    def _add(self, places: dict[str, set[str]], item: str, below: str) -> None:
        if self.everything:
            return
        known = places.setdefault(item, set())
        if below not in known:
            known.add(below)
            self._count += 1
            if self._count > MOST_HINTS:
                self.everything = True
                self._directories.clear()
                self._subtrees.clear()
