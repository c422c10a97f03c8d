"""The device: it takes tasks, trains on its own data and sends updates."""
