"""After the catalog was lost or restored: says again what other sites hold, and what is in the stores."""
