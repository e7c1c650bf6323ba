"""What state is: formats, schemas and verdicts."""
