"""Statements that are made into SQL once, and run by the driver itself.

SQLAlchemy makes a statement out of objects each time that it is run; where it is the same statement
ten times an update, that took most of the coordinator's time (docs/decisions/0031). A statement
here is written with SQLAlchemy all the same, and takes part in the connection's transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from operator import itemgetter
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Dialect, Select, Table, bindparam, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.dml import UpdateBase

_RowT = TypeVar("_RowT")
_Convert = Callable[[Any], Any]
_Converters = tuple[tuple[int, _Convert], ...]


@dataclass(frozen=True, slots=True)
class _Form:
    """A statement for one kind of database.

    Attributes:
        sql: With a mark for each parameter.
        in_order: Gives the parameters in their order.
        given: Parameters that are always the same.
        bind: How a parameter is given to the database, by its place, where that is not as it is.
        read: How a column is read, likewise.
    """

    sql: str
    in_order: Callable[[Mapping[str, Any]], tuple[Any, ...]]
    given: Mapping[str, Any]
    bind: _Converters
    read: _Converters

    def parameters(self, values: Mapping[str, Any]) -> Sequence[Any]:
        """Its parameters, by their place."""
        in_order = self.in_order({**self.given, **values} if self.given else values)
        return _converted(list(in_order), self.bind) if self.bind else in_order


class Prepared:
    """A statement that is made into SQL once.

    Args:
        statement: With `bindparam` for what is different each time.
        columns: What an insert or update sets; these too are parameters.
    """

    def __init__(self, statement: Select[Any] | UpdateBase, columns: Sequence[str] = ()) -> None:
        self._statement = statement
        self._columns = columns
        self._forms: dict[str, _Form] = {}

    def run(self, connection: Connection, values: Mapping[str, Any]) -> list[Sequence[Any]]:
        """Run it within the connection's transaction; the rows that it finds.

        Args:
            connection: Whose transaction has begun.
            values: Its parameters, by name.

        Raises:
            DBAPIError: If the database does not take it, as of SQLAlchemy.
        """
        form = self._form_for(connection.dialect, values)
        rows = execute(connection, form.sql, form.parameters(values))
        return [_converted(list(row), form.read) for row in rows] if form.read else rows

    def run_each(self, connection: Connection, each: Sequence[Mapping[str, Any]]) -> None:
        """Run it for each of many, which finds nothing.

        Args:
            connection: Whose transaction has begun.
            each: Parameters, by name.

        Raises:
            DBAPIError: As of `run`.
        """
        if each:
            form = self._form_for(connection.dialect, each[0])
            execute_each(connection, form.sql, [form.parameters(values) for values in each])

    def _form_for(self, dialect: Dialect, values: Mapping[str, Any]) -> _Form:
        return self._forms.get(dialect.name) or self._prepare(dialect, values)

    def _prepare(self, dialect: Dialect, values: Mapping[str, Any]) -> _Form:
        """Its form, by the values that it is first run with: any others fit into it too."""
        columns = list(self._columns) or None
        compiled = self._statement.compile(dialect=dialect, column_keys=columns)
        expanded = compiled.construct_expanded_state(values)
        if expanded.positiontup is None:
            raise TypeError(f"{dialect.name} takes parameters by name, expected by their place")
        given = {name: value for name, value in expanded.parameters.items() if name not in values}
        types = [
            compiled.binds[name].type if name in compiled.binds else None  # in a list of values
            for name in expanded.positiontup
        ]
        found = getattr(self._statement, "selected_columns", ())
        form = _Form(
            sql=expanded.statement,
            in_order=_in_order(expanded.positiontup),
            given=given,
            bind=_places(
                None if kind is None else kind.dialect_impl(dialect).bind_processor(dialect)
                for kind in types
            ),
            read=_places(
                column.type.dialect_impl(dialect).result_processor(dialect, None)
                for column in found
            ),
        )
        self._forms[dialect.name] = form
        return form


def _in_order(names: Sequence[str]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """What gives the values of these names; for one name alone `itemgetter` gives no tuple."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda values: tuple(values[name] for name in names)


def _places(converters: Iterable[_Convert | None]) -> _Converters:
    """Those that there are, with their places."""
    return tuple((at, convert) for at, convert in enumerate(converters) if convert is not None)


def _converted(values: list[Any], converters: _Converters) -> list[Any]:
    for at, convert in converters:
        values[at] = convert(values[at])
    return values


def execute(
    connection: Connection, sql: str, parameters: Sequence[Any] = ()
) -> list[Sequence[Any]]:
    """Give SQL to the driver itself; the rows that it finds.

    Raises:
        DBAPIError: If the database does not take it, as of SQLAlchemy.
    """
    driver = _driver(connection)
    try:
        rows: list[Sequence[Any]] = driver.execute(sql, parameters).fetchall()
    except connection.dialect.loaded_dbapi.Error as error:
        raise _as_of_sqlalchemy(connection, sql, list(parameters), error) from error
    return rows


def execute_each(connection: Connection, sql: str, each: list[Sequence[Any]]) -> None:
    """Give SQL to the driver itself, once for each of many parameters.

    Raises:
        DBAPIError: As of `execute`.
    """
    try:
        _driver(connection).executemany(sql, each)
    except connection.dialect.loaded_dbapi.Error as error:
        raise _as_of_sqlalchemy(connection, sql, each, error) from error


def _driver(connection: Connection) -> Any:
    """The driver's connection: a cursor of the pool's costs as much as a statement."""
    return connection.connection.driver_connection


def _as_of_sqlalchemy(
    connection: Connection, sql: str, parameters: list[Any], error: Exception
) -> Exception:
    return DBAPIError.instance(sql, parameters, error, connection.dialect.loaded_dbapi.Error)


class PreparedRows(Generic[_RowT]):
    """A question for rows of a table, which come as values.

    Args:
        kind: What a row is; its fields have the names of the table's columns.
        table: The table.
        which: Makes the question of a selection of all rows.
    """

    def __init__(
        self,
        kind: Callable[..., _RowT],
        table: Table,
        which: Callable[[Select[Any]], Select[Any]],
    ) -> None:
        self._kind = kind
        columns = [table.c[field.name] for field in fields(kind)]  # type: ignore[arg-type]
        self._prepared = Prepared(which(select(*columns)))

    def all(self, connection: Connection, **values: Any) -> list[_RowT]:
        """The rows that it finds."""
        kind = self._kind
        return [kind(*row) for row in self._prepared.run(connection, values)]

    def one(self, connection: Connection, **values: Any) -> _RowT | None:
        """The first row that it finds."""
        rows = self._prepared.run(connection, values)
        return self._kind(*rows[0]) if rows else None


@cache
def insertion(table: Table, columns: tuple[str, ...]) -> Prepared:
    """Adds a row: these columns of it."""
    return Prepared(insert(table), columns)


@cache
def change(table: Table, keys: tuple[str, ...], columns: tuple[str, ...]) -> Prepared:
    """Changes these columns of a row: of that whose keys are the parameters `_<key>`."""
    which = (table.c[key] == bindparam(f"_{key}") for key in keys)
    return Prepared(update(table).where(*which), columns)


@cache
def insertion_or_change(
    table: Table, key: str, columns: tuple[str, ...], changed: tuple[str, ...]
) -> Prepared:
    """Adds a row, or where it is there changes some of its columns to what they would be."""
    first = insert(table)
    set_ = {name: first.excluded[name] for name in changed}
    return Prepared(first.on_conflict_do_update(index_elements=[key], set_=set_), columns)
