"""What happened: the event types and where they go."""

from recoverd.events.names import EventName, Level
from recoverd.events.stream import Event, Events, Sink

__all__ = ["Event", "EventName", "Events", "Level", "Sink"]
