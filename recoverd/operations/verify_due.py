"""When the repository is verified by itself, and what the last verify found: cheap, for those who ask often."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recoverd.errors import LockHeld, RecoverdError
from recoverd.health.facts import VerifyFacts
from recoverd.operations.context import Context
from recoverd.repository import verify_record
from recoverd.repository.store import Repository
from recoverd.repository.two_places import TwoPlaces
from recoverd.repository.verify_record import Damage
from recoverd.system import clock

if TYPE_CHECKING:
    from recoverd.operations.verify import VerifyResult


def is_due(context: Context, repository: Repository) -> bool:
    """Whether another sample is due: the last one, or the repository, is older than `every` says.

    A time in the future is of a wrong clock.
    """
    schedule = context.config.verify
    if not schedule.sample:
        return False
    since_ns = verify_record.load(repository.state_dir, repository.id).verified_ns or repository.format.created_ns
    return not 0 <= clock.now_ns() - since_ns < schedule.every_s * 1e9


def verify_facts(context: Context, repository: Repository) -> VerifyFacts:
    """What `check` says of the repository's wholeness, from records alone. With a spare, of both places."""
    schedule = context.config.verify
    places = places_of(repository)
    records = [verify_record.load(place.state_dir, place.id) for place in places]
    times = [record.verified_ns for record in records]
    damage = [one for record in records for one in record.damage]
    found = sum(len(place.catalog.trust.known_damage()) for place in places)  # also by those who only read
    damaged = max(sum(record.damaged for record in records), found)
    return VerifyFacts(
        verified_ns=min((one for one in times if one is not None), default=None) if None not in times else None,
        created_ns=repository.format.created_ns,
        every_s=schedule.every_s if schedule.sample else None,
        damaged=damaged,
        first=sentence(damage[0]) if damage else "something that could not be read" if damaged else None,
        hurt=len({name for record in records for name in record.hurt}),
    )


def verify_if_due(context: Context) -> VerifyResult | None:
    """A sample, if the schedule asks for one now; for those who call from cron. None when it does not, or can't be."""
    try:
        repository = context.repository_if_any()
        if repository is None or not is_due(context, repository):
            return None
        from recoverd.operations.verify import VerifyRequest, verify

        return verify(context, VerifyRequest(context.config.verify.sample, background=True))
    except LockHeld:
        return None  # next time
    except (RecoverdError, OSError) as error:
        path = context.config.repository.path
        context.events.emit("verify.damage", message=f"the repository can't be verified: {error}", path=path)
        return None


def places_of(repository: Repository) -> list[Repository]:
    """The repositories to verify: with a spare, both."""
    if isinstance(repository, TwoPlaces):
        return [place for place in (repository.first, repository.spare) if place is not None]
    return [repository]


def sentence(damage: Damage) -> str:
    """One damage in words: what, why, whom it hurts."""
    where = f" in pack {damage.pack}" if damage.object is not None and damage.pack is not None else ""
    return f"{damage.what}{where}: {damage.problem}{whom(damage)}"


def whom(damage: Damage) -> str:
    """Whom a damage hurts, as the end of a sentence."""
    if not damage.snapshots:
        return ""
    more = "" if len(damage.snapshots) == 1 else f" and {len(damage.snapshots) - 1} more"
    files = f" ({damage.files[0]}{'' if len(damage.files) == 1 else ', …'})" if damage.files else ""
    return f"; it hurts {damage.snapshots[-1]}{more}{files}"
