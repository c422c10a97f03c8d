"""How the numbers of an update are put into bytes, and got out of them. Pure."""
