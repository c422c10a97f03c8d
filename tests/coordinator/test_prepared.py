from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    MetaData,
    String,
    Table,
    bindparam,
    create_engine,
    select,
)
from sqlalchemy.exc import IntegrityError, OperationalError

from coordinator.prepared import (
    Prepared,
    PreparedRows,
    change,
    insertion,
    insertion_or_change,
)

_METADATA = MetaData()
_BOATS = Table(
    "boats",
    _METADATA,
    Column("name", String, primary_key=True),
    Column("cargo", JSON, nullable=False),
    Column("sails", Boolean, nullable=False),
    Column("length_m", Float),
)


@dataclass(frozen=True)
class Boat:
    """Its fields are not in the order of the columns."""

    name: str
    length_m: float | None
    sails: bool
    cargo: dict[str, Any]


_ANNA = Boat("Anna", 7.5, True, {"herrings": 12})
_BY_NAME = PreparedRows(Boat, _BOATS, lambda rows: rows.where(_BOATS.c.name == bindparam("name")))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path}/boats.db")
    _METADATA.create_all(engine)
    yield engine
    engine.dispose()


def _add(connection: Connection, boat: Boat) -> None:
    insertion(_BOATS, tuple(vars(boat))).run(connection, vars(boat))


def test_a_row_comes_back_as_it_was_written(engine: Engine) -> None:
    unknown = Boat("Berta", None, False, {})
    with engine.begin() as connection:
        _add(connection, _ANNA)
        _add(connection, unknown)
        assert _BY_NAME.one(connection, name="Anna") == _ANNA
        found = _BY_NAME.one(connection, name="Berta")
        assert found == unknown
        assert found.sails is False
        assert _BY_NAME.one(connection, name="Clara") is None


def test_what_is_written_is_what_sqlalchemy_would_write(engine: Engine) -> None:
    with engine.begin() as connection:
        _add(connection, _ANNA)
        row = connection.execute(select(_BOATS)).mappings().one()
    assert Boat(**row) == _ANNA


def test_only_what_is_named_changes(engine: Engine) -> None:
    with engine.begin() as connection:
        _add(connection, _ANNA)
        _add(connection, Boat("Berta", None, False, {}))
        change(_BOATS, ("name",), ("sails", "cargo")).run(
            connection, {"_name": "Anna", "sails": False, "cargo": {"cod": 1}}
        )
        assert _BY_NAME.one(connection, name="Anna") == Boat("Anna", 7.5, False, {"cod": 1})
        assert _BY_NAME.one(connection, name="Berta") == Boat("Berta", None, False, {})


def test_a_row_that_is_there_is_changed_in_some_columns(engine: Engine) -> None:
    columns = ("name", "length_m", "sails", "cargo")
    put = insertion_or_change(_BOATS, "name", columns, ("cargo",))
    with engine.begin() as connection:
        put.run(connection, vars(_ANNA))
        put.run(connection, vars(Boat("Anna", 9.0, False, {"cod": 2})))
        assert _BY_NAME.one(connection, name="Anna") == Boat("Anna", 7.5, True, {"cod": 2})


def test_a_constant_in_a_statement_is_converted_as_well(engine: Engine) -> None:
    named = _BOATS.c.name.in_(("Anna", "Berta"))
    sailing = Prepared(
        select(_BOATS.c.name).where(
            named, _BOATS.c.sails.is_(True), _BOATS.c.length_m > bindparam("above")
        )
    )
    with engine.begin() as connection:
        for boat in (_ANNA, Boat("Berta", 5.0, True, {}), Boat("Clara", 9.0, True, {})):
            _add(connection, boat)
        assert [row[0] for row in sailing.run(connection, {"above": 6.0})] == ["Anna"]


def test_it_is_part_of_the_transaction(engine: Engine) -> None:
    with engine.begin() as connection:
        _add(connection, _ANNA)
        connection.rollback()
    with engine.begin() as connection:
        assert _BY_NAME.one(connection, name="Anna") is None


def test_what_the_database_refuses_is_an_error_of_sqlalchemy(engine: Engine) -> None:
    with engine.begin() as connection:
        _add(connection, _ANNA)
        with pytest.raises(IntegrityError, match="UNIQUE constraint failed"):
            _add(connection, _ANNA)
        _METADATA.drop_all(connection)
        with pytest.raises(OperationalError, match="no such table"):
            _BY_NAME.one(connection, name="Anna")


def test_many_are_changed_by_one_statement(engine: Engine) -> None:
    sails = change(_BOATS, ("name",), ("sails", "cargo"))
    with engine.begin() as connection:
        for name in ("Anna", "Berta", "Clara"):
            _add(connection, Boat(name, None, False, {}))
        sails.run_each(connection, [])
        sails.run_each(
            connection,
            [
                {"_name": name, "sails": True, "cargo": {name: 1}}
                for name in ("Anna", "Clara", "no")
            ],
        )
    with engine.begin() as connection:
        found = [_BY_NAME.one(connection, name=name) for name in ("Anna", "Berta", "Clara")]
    assert found == [
        Boat("Anna", None, True, {"Anna": 1}),
        Boat("Berta", None, False, {}),
        Boat("Clara", None, True, {"Clara": 1}),
    ]


def test_what_is_refused_of_many_is_an_error_of_sqlalchemy(engine: Engine) -> None:
    with engine.begin() as connection, pytest.raises(IntegrityError):
        insertion(_BOATS, tuple(vars(_ANNA))).run_each(connection, [vars(_ANNA), vars(_ANNA)])
