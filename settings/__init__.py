"""How it is set: one file and one environment for all services."""
