"""A frozen dataclass with some fields changed, at the cost of a copied dictionary.

`dataclasses.replace` calls the constructor, which sets each field of a frozen class through
`object.__setattr__`: 8 µs for a state of 18 fields, and a worker's session changes sixty times a
round, a coordinator's state five times an update. Here it is 0.7 µs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from dataclasses import replace
else:
    _T = TypeVar("_T")

    def replace(value: _T, /, **changes: Any) -> _T:
        """The same with other fields; their names and types are checked by the type checker alone.

        Args:
            value: Of a frozen dataclass without slots, and with nothing to do after it is made.
            changes: Fields by name.
        """
        made = object.__new__(type(value))
        made.__dict__.update(value.__dict__, **changes)
        return made


__all__ = ["replace"]
