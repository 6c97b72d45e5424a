"""The bus: a nats-server, embedded or external, and this site's two connections to it (docs/events.md, ADR 0002).

Nothing outside this package imports nats or nkeys; services see :class:`librarian_daemon.ports.bus.Bus`.
"""
