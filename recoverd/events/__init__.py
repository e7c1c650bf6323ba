"""What happened: the event types and where they go."""
