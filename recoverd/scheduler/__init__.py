"""`recoverd run`: autosave, prune and signals on APScheduler."""
