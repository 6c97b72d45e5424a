"""Stores: places at this site that hold bytes. They implement the port :class:`librarian_daemon.ports.store.Store`."""
