"""Builds a site: one builder for each capability, used by the daemon and by the simulator.

A builder takes the ports of a site and its settings, makes the services of its capability, and says by ``services()``
which of them run, under the names that logs and incidents give them. Nothing else constructs a service.
"""
