"""What a run keeps from its first start to its end.

The coordinator stores `frozen_fields` with a new run and compares at each later start. Why a field
is frozen, or is not, stands beside the field (`settings.about`) and in the reference.
"""

from collections.abc import Mapping
from pathlib import PurePath

from settings.errors import show
from settings.fields import Field, fields
from settings.masking import MASK, sounds_secret
from settings.model import Settings


def frozen_fields(settings: Settings) -> dict[str, object]:
    """Take out what makes a run what it is.

    Returns:
        Dotted name to a value that JSON can say. Of a path only the file's name: the folder may
        move.
    """
    return {
        name: _portable(field, field.value_of(settings))
        for name, field in fields().items()
        if field.about.frozen
    }


def changed(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """Say what differs between two results of `frozen_fields`.

    Args:
        old: What the run began with, perhaps stored by another release.
        new: What is set now.

    Returns:
        One text for each difference, such as ``rounds.goal: was 3, now 4``. A field that only one
        of the two releases knows is no difference.
    """
    differences: list[str] = []
    for name in new:
        if name in old:
            differences += _differences(name, old[name], new[name])
    return differences


def changed_fields(old: Settings, new: Settings) -> dict[str, str]:
    """Say what differs between two settings: dotted name to a text, such as `changed` makes."""
    differences = {
        name: _differences(
            name, _portable(field, field.value_of(old)), _portable(field, field.value_of(new))
        )
        for name, field in fields().items()
    }
    return {name: "; ".join(texts) for name, texts in differences.items() if texts}


def _portable(field: Field, value: object) -> object:
    if field.about.kind in ("learner", "initial"):
        return PurePath(str(value)).name
    return dict(value) if isinstance(value, Mapping) else value


def _differences(name: str, old: object, new: object) -> list[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = sorted({*old, *new})
        nothing = "not set"
        return [
            f"{name}.{key}: was {_show(key, old[key]) if key in old else nothing}, "
            f"now {_show(key, new[key]) if key in new else nothing}"
            for key in keys
            if key not in old or key not in new or not _same(old[key], new[key])
        ]
    if _same(old, new):
        return []
    field = fields().get(name)
    was, now = (_write(field, value) for value in (old, new))
    return [f"{name}: was {was}, now {now}"]


def _same(old: object, new: object) -> bool:
    # In Python, true is 1.
    return old == new and isinstance(old, bool) == isinstance(new, bool)


def _write(field: Field | None, value: object) -> str:
    return show(value) if field is None or isinstance(value, str) else field.write(value)


def _show(key: str, value: object) -> str:
    return MASK if sounds_secret(key) else show(value)
