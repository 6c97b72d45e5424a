"""The Python client of a site's control API: synchronous, over the daemon's unix socket."""

from librarian_client.client import Client
from librarian_client.location import Location, locate

__all__ = ["Client", "Location", "locate"]
