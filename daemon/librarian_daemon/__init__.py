"""The daemon of a site: services, catalog, journal, bus, stores, control API."""
