import tomllib
from pathlib import Path

import pytest

from settings.describe import main, reference, template
from settings.fields import fields
from settings.loading import load

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"


def test_the_reference_page_is_current() -> None:
    assert REFERENCE.read_text(encoding="utf-8") == reference(), (
        "run: python -m settings.describe > docs/reference/settings.md"
    )


def test_the_template_loads_to_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "federation.toml"
    path.write_text("", encoding="utf-8")
    defaults = load(path, {})
    path.write_text(template(), encoding="utf-8")
    assert load(path, {}) == defaults


def test_the_template_has_every_field() -> None:
    document = tomllib.loads(template())
    assert [f"{section}.{key}" for section, table in document.items() for key in table] == [
        *fields()
    ]


def test_the_template_fits_a_screen() -> None:
    assert max(len(line) for line in template().splitlines()) <= 100


@pytest.mark.parametrize("name", fields())
def test_the_reference_has_a_row_for_every_field(name: str) -> None:
    field = fields()[name]
    rows = [line for line in reference().splitlines() if f"`{field.variable}`" in line]
    assert len(rows) == 1
    assert rows[0].startswith(f"| `{field.key}` | ")
    assert rows[0].replace("\\|", "").count("|") == 9


def test_the_command_prints_the_page_or_the_template(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out == reference()
    assert main(["--template"]) == 0
    assert capsys.readouterr().out == template()


def test_the_command_refuses_other_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 2
    assert capsys.readouterr().err.startswith("usage: ")
