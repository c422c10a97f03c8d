"""The in-process broker: RabbitMQ's semantics for tests, demos and virtual time."""

from broker.memory.broker import MemoryBroker
from broker.memory.transport import MemoryTransport

__all__ = ["MemoryBroker", "MemoryTransport"]
