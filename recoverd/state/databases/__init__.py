"""SQLite databases: captured and judged in a child process, on private copies, never changed where they are."""
