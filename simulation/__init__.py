"""A federation in virtual time, with every fault that a device, a disk or a network can have."""
