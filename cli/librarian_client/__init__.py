"""The Python client of a site's control API."""
