"""What can go wrong in calling this package, as opposed to what the broker says (events).

BrokerError
├── BrokerUrlError        the address of the broker cannot be used
└── BrokerArgumentError   a call that no broker could carry out: a bug in the caller
"""

from __future__ import annotations


class BrokerError(Exception):
    """Root of this package's errors."""


class BrokerUrlError(BrokerError, ValueError):
    """The broker's URL cannot be used: expected amqp://user:password@host:5672/vhost."""


class BrokerArgumentError(BrokerError, ValueError):
    """The call makes no sense to any broker; mend the caller."""
