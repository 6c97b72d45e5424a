"""Ways to move bytes; they know nothing of the daemon, the catalog or the bus."""
