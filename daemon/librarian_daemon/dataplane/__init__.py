"""Serves bytes to other sites: on request, and by pushing."""
