"""Logs on stderr: one line a record, UTC, without passwords.

2026-01-01T12:00:00Z INFO coordinator.service message
"""

import logging
import sys
import time

from settings.errors import SettingsError, one_line, show
from settings.masking import mask_text

LEVELS = ("debug", "info", "warning", "error")

_HANDLER_NAME = "fedmq"


class LineFormatter(logging.Formatter):
    """Puts a record on one line, its traceback too, and hides the secrets of URLs."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        """Format a record, masked as a whole: a secret may hide in an argument or a traceback."""
        lines = super().format(record).splitlines()
        return one_line(mask_text(" | ".join(line.strip() for line in lines)))


def configure_logging(level: str) -> None:
    """Log to stderr from now on; calling it again replaces the level and the stream.

    Args:
        level: One of `LEVELS`, in any case.

    Raises:
        SettingsError: It is another.
    """
    if level.lower() not in LEVELS:
        raise SettingsError("log level", f"one of {', '.join(LEVELS)}", show(level))
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if handler.name == _HANDLER_NAME]:
        root.removeHandler(handler)
    handler = logging.StreamHandler(sys.stderr)
    handler.name = _HANDLER_NAME
    handler.setFormatter(LineFormatter())
    root.addHandler(handler)
    root.setLevel(level.upper())
    # What goes wrong on a connection reaches the services as events, which say it in our words.
    logging.getLogger("pika").setLevel(
        logging.WARNING if root.level == logging.DEBUG else logging.CRITICAL
    )
