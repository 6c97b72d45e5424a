"""Transfers of files to this site: planned, fetched, landed."""
