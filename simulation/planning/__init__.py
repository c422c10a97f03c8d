"""Planning: a federation of many devices in virtual time, to see what a round policy would do."""
