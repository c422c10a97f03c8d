"""One transaction of the coordinator, a room of its own for each kind of message."""
