"""The broker's URL: its credentials are never shown."""

from __future__ import annotations

import re

# Up to the last "@" that can end the credentials: a password may hold "@", ":" and "/" unescaped.
_CREDENTIALS = re.compile(r"(?<=://)([^:/?#@\s]*)(:?)\S*@")
_QUERY_SECRET = re.compile(
    r"([?&][^=&\s]*(?:pass|pwd|secret|token|key|auth|cred)[^=&\s]*=)[^&\s]+", re.IGNORECASE
)


def mask_url(text: str) -> str:
    """Hide the credentials of every URL in a text; the user is shown only beside a password.

    >>> mask_url("cannot reach amqp://bob:pa:s@s@host:5672/fl")
    'cannot reach amqp://bob:***@host:5672/fl'
    """
    shown = _CREDENTIALS.sub(lambda found: f"{found[1]}:***@" if found[2] else "***@", text)
    return _QUERY_SECRET.sub(r"\1***", shown)
