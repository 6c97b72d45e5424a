"""The interfaces through which services use the outside world."""
