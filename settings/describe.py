"""The reference page and the template of `federation.toml`, written from the fields themselves.

python -m settings.describe                 prints docs/reference/settings.md
python -m settings.describe --template      prints a federation.toml
"""

import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from settings.fields import Field, fields, sections
from settings.presets import PRESETS, Preset
from settings.profiles import PROFILES
from settings.values import limits

_TEMPLATE_WIDTH = 98

_REFERENCE_HEAD = """\
# Settings

<!-- Written by `python -m settings.describe`; edit the fields in `settings/` instead. -->

One file, `federation.toml`, sets the coordinator and the workers of a federation. Every field has a
default and an environment variable. The command line comes before the environment, the environment
before the file, the file before what a [preset](#presets) or a [profile](#profiles) sets, that
before the defaults.

- **Durations** are a number and one of the units `ms`, `s`, `m`, `h`, `d`: `"250ms"`, `"30s"`,
  `"10m"`, `"1.5h"`, `"2d"`. A plain number is seconds.
- **Sizes** are a whole number and a unit: `"64KiB"`, `"4MiB"`, `"500MB"`. A plain number is bytes.
- **Paths** that are relative count from where they are written: from the file's folder in the
  file (and for the defaults), from the working directory in a variable or on the command line.
- **Tables** are written in a variable as JSON or as an inline table of toml:
  `FEDMQ_LEARNER_CONFIG='{lr = 0.1}'`.
- **Secrets** are better kept in files: each variable may have `_FILE` behind its name, and then
  names a file that holds the value: `FEDMQ_BROKER_URL_FILE=/run/secrets/broker-url`. Errors do not
  show what is in it.
- **Unknown** sections, keys and variables that begin with a section's name (`FEDMQ_ROUNDS_…`) are
  errors. Other `FEDMQ_…` variables are not settings.
- **Frozen** fields are kept by a run from its first start on: started again with another value,
  the coordinator stops and names it. Begin another run with `--new-run`, or set the value back.
- The others may change while a run is under way: start the coordinator again, or send it SIGHUP,
  which has it read `[run]`, `[rounds]`, `[algorithm]`, `[selection]` and `[wire]` again. Where it
  says **with the next version**, the open round is not concerned.
"""

_PRESETS_HEAD = """
## Presets

`rounds.preset` names a round policy. It sets the fields below where the file, the environment and
the command line do not: what somebody wrote comes first.

| preset | what it is | sets | paper |
|---|---|---|---|
"""

_PROFILES_HEAD = """
## Profiles

`wire.profile` names codecs for a kind of network. It sets the fields below where the file, the
environment and the command line do not. [Codecs](../explanation/codecs.md) says what each of them
costs and saves.

| profile | what it is | sets | paper |
|---|---|---|---|
"""

_TEMPLATE_HEAD = """\
# federation.toml: the settings of a federation, each at its default.
# Delete what you do not change: rounds.preset and wire.profile set only what is not written here.
# docs/reference/settings.md says more about each field.
"""


def reference() -> str:
    """Write the reference page, in Markdown."""
    parts = [_REFERENCE_HEAD]
    for section, struct in sections().items():
        meaning = (struct.__doc__ or "").partition(": ")[2].splitlines()[0]
        parts.append(f"\n## [{section}]\n\n{meaning[:1].upper()}{meaning[1:]}\n\n")
        parts.append("| key | type | unit | range | default | environment | meaning | in a run |\n")
        parts.append("|---|---|---|---|---|---|---|---|\n")
        parts += [_row(field) for field in _own(section)]
    parts += [_PRESETS_HEAD, *_named(PRESETS), _PROFILES_HEAD, *_named(PROFILES)]
    return "".join(parts)


def template() -> str:
    """Write a `federation.toml` with every field at its default and a comment that explains it."""
    parts = [_TEMPLATE_HEAD]
    for section in sections():
        parts.append(f"\n[{section}]\n\n")
        for field in _own(section):
            parts += [f"# {line}\n" for line in _comment(field)]
            parts.append(f"{field.key} = {_toml(field)}\n\n")
    return "".join(parts).rstrip() + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the reference page, or with ``--template`` the template."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given not in ([], ["--template"]):
        print("usage: python -m settings.describe [--template]", file=sys.stderr)
        return 2
    sys.stdout.write(template() if given else reference())
    return 0


def _own(section: str) -> Iterator[Field]:
    return (field for field in fields().values() if field.section == section)


def _named(presets: Mapping[str, Preset]) -> Iterator[str]:
    for name, preset in presets.items():
        known = fields()
        values = ", ".join(
            f"`{dotted} = {_toml_of(known[dotted], known[dotted].write(value))}`"
            for dotted, value in preset.dotted().items()
        )
        yield f"| `{name}` | {preset.meaning} | {values} | {preset.paper} |\n"


def _row(field: Field) -> str:
    cells = [
        f"`{field.key}`",
        _type(field),
        _unit(field),
        _range(field),
        f"`{_toml(field)}`",
        f"`{field.variable}`",
        field.about.meaning,
        f"{_in_a_run(field)}: {field.about.why}",
    ]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _in_a_run(field: Field) -> str:
    if field.about.frozen:
        return "frozen"
    return "with the next version" if field.about.waits else "may change"


def _type(field: Field) -> str:
    kinds = {
        "duration": "duration",
        "size": "size",
        "path": "path",
        "file": "path",
        "config": "table",
    }
    types = {bool: "boolean", int: "whole number", float: "number"}
    return kinds.get(field.about.kind) or types.get(field.type, "text")


def _unit(field: Field) -> str:
    return {"duration": "s", "size": "bytes"}.get(field.about.kind, field.about.unit)


def _range(field: Field) -> str:
    if field.choices:
        return ", ".join(f'`"{choice}"`' for choice in field.choices)
    span = limits(field.about)
    return field.about.expected or (f'{span}, or `"all"`' if field.about.kind == "kept" else span)


def _comment(field: Field) -> list[str]:
    allowed = _range(field).replace("`", "")
    texts = [field.about.meaning, f"Takes: {allowed}" if allowed else ""]
    return [
        line
        for text in texts
        for line in textwrap.wrap(
            text, _TEMPLATE_WIDTH, break_on_hyphens=False, break_long_words=False
        )
    ]


def _toml(field: Field) -> str:
    return _toml_of(field, field.write(field.default))


def _toml_of(field: Field, written: str) -> str:
    if field.type in (bool, float, int) and (field.about.kind == "plain" or written.isdigit()):
        return written
    # Defaults hold no quotes or backslashes, which toml would want escaped.
    return written if field.about.kind == "config" else f'"{written}"'


if __name__ == "__main__":
    sys.exit(main())
