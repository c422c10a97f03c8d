"""What goes wrong with a setting.

    SettingsError    a setting is unknown, unreadable, out of range or at odds with another

The person who wrote the setting can mend it: the text of the error is one line that says which
field, where it came from, what was expected and what came.
"""

from settings.masking import mask_text

_LONGEST_VALUE_CHARS = 120
_LONGEST_NUMBER_BITS = 4096


class SettingsError(Exception):
    """A setting that cannot be used; its text is one line for the person who wrote it.

    Args:
        field: The field's dotted name (``rounds.goal``), or what else is wrong (a file).
        expected: What would have been right, as a noun phrase.
        got: What came, ready to be shown: passwords must already be masked.
        source: Where it came from: a file, an environment variable, ``the command line``.
        hint: What to do, or the name that was probably meant; may be empty.
    """

    def __init__(
        self, field: str, expected: str, got: str, source: str = "", hint: str = ""
    ) -> None:
        # All of it goes to `args`, so that the error survives a pickle between processes.
        super().__init__(field, expected, got, source, hint)
        self.field = field
        self.expected = expected
        self.got = got
        self.source = source
        self.hint = hint

    def __str__(self) -> str:
        where = f" ({self.source})" if self.source else ""
        hint = f"; {self.hint}" if self.hint else ""
        return one_line(f"{self.field}{where}: expected {self.expected}, got {self.got}{hint}")


def show(value: object) -> str:
    """Show a value in an error: in quotes if it is text, shortened, on one line, masked."""
    text = f'"{value}"' if isinstance(value, str) else _toml_like(value)
    text = mask_text(text)
    if len(text) > _LONGEST_VALUE_CHARS:
        text = f"{text[:_LONGEST_VALUE_CHARS]}… ({len(text)} characters)"
    return one_line(text)


def one_line(text: str) -> str:
    """Put a text on one line that a terminal shows as it is: no control characters."""
    words = " ".join(text.split())
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in words)


def _toml_like(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > _LONGEST_NUMBER_BITS:
        return "a huge number"  # Python refuses to write it in decimals
    if isinstance(value, dict):
        return "a table" if value else "an empty table"
    if isinstance(value, list):
        return "a list"
    return str(value)
