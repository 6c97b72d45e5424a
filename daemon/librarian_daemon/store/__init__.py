"""Stores: places at this site that hold bytes. Behind the port :class:`librarian_daemon.ports.Store`."""
