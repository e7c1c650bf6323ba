"""How services run: drivers, process identity, probes, start order."""
