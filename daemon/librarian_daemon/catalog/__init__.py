"""The catalog: the only place that knows SQL. Its packages have the names of the daemon's packages that use them."""
