"""One file per verb, each a function: (context, request) -> result."""
