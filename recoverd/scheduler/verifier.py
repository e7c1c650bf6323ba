"""`verify` of the configuration: a sample of the repository is read now and then. The next one goes on from where an
ended one was."""

from __future__ import annotations

from collections.abc import Sequence

from recoverd.config.units import format_percentage
from recoverd.operations.context import Context
from recoverd.operations.verify_due import is_due
from recoverd.scheduler.aside import Aside


class Verifier(Aside):
    """One that could not be done is not repeated at once."""

    what = "the verify of the repository"

    def due(self, context: Context) -> Sequence[str]:
        repository = context.repository_if_any()
        if repository is None or not is_due(context, repository):
            return ()
        return ("verify", "--sample", format_percentage(context.config.verify.sample))

    def rest_s(self, context: Context) -> float:
        return min(self._rest_s, context.config.verify.every_s)
