"""Ways to move bytes; they know nothing of the daemon, the catalog or the bus.

``contract`` says what an adapter is, ``registry`` makes those that are configured; ``local``, ``http`` and
``memory`` are adapters, ``verifying`` and ``stalling`` wrap any of them.
"""
