"""One list of results and its formats."""

from recoverd.health.results import Figure, Result, Status, overall

__all__ = ["Figure", "Result", "Status", "overall"]
