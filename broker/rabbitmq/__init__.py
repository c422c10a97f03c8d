"""The transport over RabbitMQ. The only package that knows pika."""

from broker.rabbitmq.driven import DrivenTransport
from broker.rabbitmq.transport import RabbitTransport

__all__ = ["DrivenTransport", "RabbitTransport"]
