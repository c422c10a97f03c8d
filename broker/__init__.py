"""How messages travel: the topology as data, and the transports that carry it."""
