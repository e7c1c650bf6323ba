"""The front door: one file per command, imported only when called."""
