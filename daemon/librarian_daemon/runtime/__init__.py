"""The base of every service: clock, signals, logs, metrics, servers, certificates."""
