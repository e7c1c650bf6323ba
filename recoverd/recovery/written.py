"""What a restore wrote, as rows of the stat cache, so that the look after the swap need not read it a second time.

Every file was read back once, when it was written, and was then closed in a directory that nobody else can enter. As
long as its stat is the one it had at that moment, it is that very file with those very bytes: whoever writes to it
later moves its ctime. A directory of which anything is not exactly as its tree says has no row, and is read.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from recoverd.recovery.stat_rows import TRUSTED_AGE_NS, Row, join_names
from recoverd.values import dataclass, field

_COARSE = 5  # CLOCK_REALTIME_COARSE of clock_gettime(2), which the time module does not name
QUIET_NS = 2 * round(time.clock_getres(_COARSE) * 1e9)
"""Files get their times from a clock that moves in ticks of 1 to 10 ms: a write within the tick of the last stat does
not show in them."""


@dataclass(slots=True)
class WrittenDirectory:
    """One directory of a staged tree: the packed stats of what was written into it."""

    tree: str
    files: dict[str, bytes] = field(default_factory=dict)  # and links
    directories: dict[str, bytes] = field(default_factory=dict)
    trees: dict[str, str] = field(default_factory=dict)  # of those directories
    documents: int = 0
    size_bytes: int = 0
    newest_ctime_ns: int = 0
    exact: bool = True  # owner, mode, times and attributes are what the tree says


def rows_of(
    written: Mapping[str, WrittenDirectory], *, judge: str, unchecked: bool, before_ns: int
) -> Iterable[tuple[str, Row]]:
    """(directory below the item, its row) of those that were finished a tick before `before_ns`, when they were
    brought in. `judge` found every document in them ok."""
    for below, one in written.items():
        if one.exact and one.newest_ctime_ns + QUIET_NS <= before_ns:
            names, directories = sorted(one.files), sorted(one.directories)
            stats = [one.files[name] for name in names] + [one.directories[name] for name in directories]
            yield (
                below,
                Row(
                    captured_ns=one.newest_ctime_ns + TRUSTED_AGE_NS,  # no stranger had it open: no need to wait
                    newest_ctime_ns=one.newest_ctime_ns,
                    judge=judge,
                    root=one.tree,
                    good=one.tree,
                    names=join_names(names, directories),
                    stats=b"".join(stats),
                    findings=(),
                    children={name: (tree, tree) for name, tree in one.trees.items()},
                    files=one.documents,
                    size_bytes=one.size_bytes,
                    unchecked=one.documents if unchecked else 0,
                    notes=(),
                ),
            )
