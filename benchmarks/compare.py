"""Measures recoverd beside other tools, on a file system of its own; see benchmarks/README.md.

Exit status: 0 done, 1 a tool did not do what it was to do, 2 it can't be measured here.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from benchmarks import disk, measure, ours, pages, peers, plans, show
from benchmarks.results import Results

_IMAGE_BYTES, _QUICK_IMAGE_BYTES = 4 << 30, 1 << 30


def main(words: Sequence[str] | None = None) -> int:
    options = arguments(words)
    try:
        before = kept(pages.KEPT) if options.write_docs and options.plan else None  # before half an hour is spent
        results = kept(options.kept) if options.kept is not None else measured(options)
        to_keep = results if before is None else merged(before, results)
    except disk.NoDisk as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    except (measure.Failed, OSError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("benchmarks: interrupted", file=sys.stderr)
        return 130
    if options.write_docs:
        pages.KEPT.write_text(to_keep.to_json())
        pages.PAGE.write_text(pages.write(pages.PAGE.read_text(), to_keep))
    print(results.to_json() if options.json else show.text(results, colour=show.wants_colour(sys.stdout)), end="")
    return 0


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/run", description="recoverd beside other tools")
    parser.add_argument("--quick", action="store_true", help="a few documents, one round: does it work at all?")
    parser.add_argument("--plan", action="append", choices=plans.PLANS, help="only this one; repeatable")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often each is measured (5)")
    parser.add_argument("--alone", action="store_true", help="recoverd only")
    parser.add_argument("--on", type=Path, metavar="DIRECTORY", help="measure there, not on a disk of its own")
    parser.add_argument("--from", dest="kept", type=Path, metavar="FILE", help="measure nothing: show what FILE holds")
    parser.add_argument("--json", action="store_true", help="print results as JSON")
    parser.add_argument(
        "--write-docs",
        action="store_true",
        help="keep the results (with --plan: of these plans, beside the others), and write docs/performance.md anew",
    )
    options = parser.parse_args(words)
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds: at least 1")
    if options.write_docs and (options.quick or options.alone or (options.plan and options.kept)):
        parser.error("--write-docs needs all figures of a plan: no --quick or --alone; and no --plan with --from")
    return options


def kept(path: Path) -> Results:
    """Results of an earlier run. Raises Failed."""
    try:
        return Results.from_json(path.read_text())
    except (ValueError, KeyError, TypeError) as error:
        raise measure.Failed(f"{path} holds no results: {error}") from None


def merged(before: Results, now: Results) -> Results:
    """Some plans measured anew, beside those that are kept. Raises Failed."""
    try:
        return before.with_plans_of(now)
    except ValueError as error:
        raise measure.Failed(f"these results do not go with those of {before.taken[:10]}: {error}") from None


def measured(options: argparse.Namespace) -> Results:
    """Measure what was asked for. Raises Failed, NoDisk, OSError."""
    size = plans.QUICK if options.quick else plans.Size()
    if options.rounds is not None:
        size = replace(size, rounds=options.rounds)
    missing = {} if options.alone else peers.missing()
    untraced = measure.can_trace()
    if untraced is not None:
        missing["the number of syncs"] = untraced
    for tool, why in missing.items():
        tell(f"{tool} is left out: {why}")
    ours.compile_modules()
    with place_of(options) as place:
        run = plans.Run(place, size, traced=untraced is None, alone=options.alone)
        titles = {key: title for key, title in plans.titles(size).items() if key in (options.plan or plans.PLANS)}
        machine = disk.machine(place)
        for key, title in titles.items():
            run.tell = partial(tell_of, title)
            plans.PLANS[key](run)
    return Results(
        taken=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine,
        versions=ours.versions() | ({} if options.alone else peers.versions()),
        missing=missing,
        rounds=size.rounds,
        settled=size.settle_s > 0,
        floor_bytes=measure.floor_bytes(),
        plans=titles,
        rows=run.rows(),
    )


@contextmanager
def place_of(options: argparse.Namespace) -> Iterator[Path]:
    """An empty directory on the file system that is measured."""
    if options.on is None:
        with disk.own_file_system(_QUICK_IMAGE_BYTES if options.quick else _IMAGE_BYTES) as place:
            yield place
        return
    place = Path(tempfile.mkdtemp(prefix="recoverd-bench-", dir=options.on.resolve()))
    try:
        yield place
    finally:
        shutil.rmtree(place)


def tell_of(plan: str, words: str) -> None:
    tell(f"{plan}: {words}")


def tell(words: str) -> None:
    """How far it is, beside the results."""
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
