"""What `check` says of the spare."""

from __future__ import annotations

from typing import Any

import pytest

from recoverd.health.facts import Space, SpareFacts
from recoverd.health.results import Status
from recoverd.health.spare_check import spare
from recoverd.values import replace

GOOD = SpareFacts("/mnt/usb/recoverd", True, True, snapshots=0, size_bytes=0, space=Space(1 << 30, 1 << 31))


@pytest.mark.parametrize(
    ("keys", "status", "words"),
    [
        ({}, Status.OK, "stands by, 1.0 GiB free"),
        ({"same_file_system": True}, Status.WARNING, "lies on the file system of the repository"),
        ({"snapshots": 2}, Status.WARNING, "holds 2 snapshots that the repository does not have"),
        ({"snapshots": 1, "first_writable": False}, Status.WARNING, "holds 1 snapshot"),
        ({"first_writable": False}, Status.WARNING, "captures go to /mnt/usb/recoverd"),
        ({"writable": False}, Status.WARNING, "can't be written"),
        ({"writable": False, "first_writable": False}, Status.CRITICAL, "can't be written"),
        ({"exists": False}, Status.WARNING, "there is none at /mnt/usb/recoverd"),
        ({"exists": False, "first_writable": False}, Status.CRITICAL, "there is none"),
        ({"error": "it belongs to another user"}, Status.WARNING, "another user"),
        ({"error": "it is dead", "snapshots": 3, "first_writable": False}, Status.CRITICAL, "it is dead"),
    ],
)
def test_what_is_wrong_with_it(keys: dict[str, Any], status: Status, words: str) -> None:
    """Whatever is not in order has a status and a hint; nothing is CRITICAL while captures still land somewhere."""
    result = spare(replace(GOOD, **keys))
    assert (result.name, result.status) == ("spare", status)
    assert words in result.message
    assert (result.hint is None) == (status is Status.OK)


def test_figures_are_there_for_those_who_draw_them() -> None:
    """Bytes with their unit, snapshots with the threshold that is warned at."""
    figures = spare(replace(GOOD, snapshots=2, size_bytes=4096)).figures
    assert (figures["snapshots"].value, figures["snapshots"].warn) == (2, 0)
    assert (figures["bytes"].value, figures["bytes"].unit) == (4096, "B")
