"""One list of results and its formats."""
