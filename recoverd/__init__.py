"""recoverd brings the services of a Linux machine back with their last known-good state."""

__version__ = "0.1.0"
