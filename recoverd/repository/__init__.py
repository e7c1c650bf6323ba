"""Where snapshots live: objects, packs, trees, records, catalog, retention."""
