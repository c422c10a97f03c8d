"""Every update that came is listed once, with its verdict."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from coordinator.accounts import Wanted, each_update
from coordinator.intake import Stray
from coordinator.listing import facts_of
from coordinator.records import LedgerRow, StrayRow
from coordinator.store import Store
from fedmq.cli import main
from fedmq.updates import MEASURED_ROWS, write_json, write_table
from schemas.digest import digest_of
from schemas.messages import encode
from tests.coordinator.rows import ledger_row
from tests.coordinator.world import MakeWorld, World
from tests.docs.pages import ROOT

STRAY = StrayRow("d" * 64, "malformed", "short", {"worker_id": "w", "task_id": ""}, 3, 2, 5.0, None)


def a_world(make_world: MakeWorld) -> World:
    """Two counted, one late, one copy, one stray that speaks for till-1."""
    world = make_world(rounds__late="refuse", rounds__concurrency=3)
    late = world.worker("till-9")
    begun = world.begin_task(late)
    world.answer(world.worker("till-1"), 1.0)
    world.answer(world.worker("till-2"), 2.0)
    world.finish_task(late, *begun)
    world.finish_task(late, *begun)
    forger = world.worker("till-1")
    update = forger.update(*begun, world.layout, 1.0)
    forger.send(replace(update, update_id="0" * 32), forger.payload(world.layout, 1.0))
    world.step()
    return world


def listed(world: World, capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    state = str(world.folder / "state")
    assert main(["updates", "--state-dir", state, "--json", *words]) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return rows


def table(world: World, capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(["updates", "--state-dir", str(world.folder / "state"), *words]) == 0
    return capsys.readouterr().out.splitlines()


def test_json_says_what_became_of_every_update(
    make_world: MakeWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    world = a_world(make_world)
    first, second, late, stray = listed(world, capsys)
    assert first == {
        "id": first["id"],
        "stray": False,
        "worker": "till-1",
        "task": world.ledger(first["id"]).task_id,
        "run": world.run_row().run_id,
        "kind": "train",
        "base_version": 0,
        "verdict": "counted",
        "round": 0,
        "weight": 10.0,
        "staleness": 0,
        "copies": 0,
        "reason": "in time",
        "num_examples": 10,
        "received_at": world.now,
    }
    assert (second["worker"], second["verdict"]) == ("till-2", "counted")
    assert (late["worker"], late["verdict"], late["round"]) == ("till-9", "late", 1)
    assert (late["weight"], late["staleness"], late["copies"]) == (0.0, 1, 1)
    assert "the round had closed" in late["reason"]
    assert (stray["id"], stray["worker"], stray["stray"]) == (None, None, True)
    assert (stray["verdict"], stray["claims"]["worker_id"]) == ("malformed", "till-1")
    assert len(stray["digest"]) == 64
    assert set(first) < set(stray)


def test_json_has_an_update_on_each_line(
    make_world: MakeWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    world = a_world(make_world)
    main(["updates", "--state-dir", str(world.folder / "state"), "--json"])
    opening, *rows, closing = capsys.readouterr().out.splitlines()
    assert (opening, closing) == ("[", "]")
    verdicts = [json.loads(row.removesuffix(","))["verdict"] for row in rows]
    assert verdicts == ["counted", "counted", "late", "malformed"]


def accepted_later(world: World, monkeypatch: pytest.MonkeyPatch) -> str:
    """A message that a bug calls malformed, until it comes again; the digest of its bytes."""
    worker = world.worker("till-3")
    task, start = world.begin_task(worker)
    payload = worker.payload(world.layout, 1.0)
    body = encode(worker.update(task, start, world.layout, 1.0), payload)
    with monkeypatch.context() as patched:
        stray = Stray("malformed", "a bug", worker.worker_id, task.task_id)
        patched.setattr("coordinator.batch.updates.receive", lambda *_: stray)
        worker.send_bytes(body, task.run_id)
        world.step()
    worker.send_bytes(body, task.run_id)
    world.step()
    return digest_of(body)


def test_a_stray_that_was_accepted_later_is_nowhere_called_refused(
    make_world: MakeWorld, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = a_world(make_world)
    digest = accepted_later(world, monkeypatch)
    state = ["--state-dir", str(world.folder / "state")]
    row = next(row for row in listed(world, capsys) if row.get("digest") == digest)
    assert (row["verdict"], row["refused_as"]) == (None, "malformed")
    assert row["accepted_at"] == world.now
    assert digest not in str(listed(world, capsys, "--verdict", "malformed"))
    (line,) = (line for line in table(world, capsys) if digest[:12] in line)
    assert "  accepted  " in line
    assert "before: malformed (a bug)" in line

    main(["explain", digest, *state])
    said = capsys.readouterr().out
    assert f"Stray {digest}: it was accepted" in said
    assert "What to do" not in said
    main(["explain", "till-3", *state])
    assert "took no update id" not in capsys.readouterr().out
    main(["explain", row["claims"]["task_id"], *state])
    assert "took no update id" not in capsys.readouterr().out

    main(["status", *state])
    said = capsys.readouterr().out
    assert "refused without an id: 1 malformed\n" in said
    assert "refused without an id, and accepted later: 1\n" in said


@pytest.mark.parametrize(
    ("words", "workers"),
    [
        (["--worker", "till-1"], ["till-1", None]),
        (["--verdict", "late"], ["till-9"]),
        (["--verdict", "malformed"], [None]),
        (["--round", "0"], ["till-1", "till-2"]),
        (["--round", "1"], ["till-9"]),
        (["--round", "7"], []),
        (["--round", "1", "--worker", "till-1"], []),
    ],
)
def test_the_list_can_be_narrowed(
    words: list[str],
    workers: list[str | None],
    make_world: MakeWorld,
    capsys: pytest.CaptureFixture[str],
) -> None:
    world = a_world(make_world)
    assert [row["worker"] for row in listed(world, capsys, *words)] == workers


def test_all_runs_are_listed_and_a_round_is_one_of_the_newest(
    make_world: MakeWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    world = make_world(run__rounds=1)
    earlier = world.run_row().run_id
    late = world.somebody()
    begun = world.begin_task(late)
    world.round(1.0, 2.0)
    world.pass_time(5.0)
    world.restart(new_run=True)
    world.finish_task(late, *begun)
    world.round(3.0)
    assert [row["round"] for row in listed(world, capsys)] == [0, 0, 0, 0]
    assert len(listed(world, capsys, "--round", "0")) == 1
    assert len(listed(world, capsys, "--run", earlier[:8])) == 3
    of_round = listed(world, capsys, "--run", earlier[:8], "--round", "0")
    assert [row["verdict"] for row in of_round] == ["counted", "counted"], (
        "the third met round 0 of the next run"
    )


def test_the_table_is_aligned_and_shows_strays_by_their_digest(
    make_world: MakeWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    world = a_world(make_world)
    heading, *lines = table(world, capsys)
    assert heading.split()[:4] == ["id", "worker", "task", "run"]
    for line in lines:
        assert line[heading.index("verdict") :].startswith(("counted", "late", "malformed"))
    stray = listed(world, capsys, "--verdict", "malformed")[0]
    assert lines[-1].startswith(f"stray {stray['digest'][:12]}")
    assert "(till-1)" in lines[-1]


def test_an_empty_ledger_is_an_empty_list(
    make_world: MakeWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    world = make_world()
    assert listed(world, capsys) == []
    assert table(world, capsys) == ["no updates"]


def test_what_others_wrote_cannot_speak_to_the_terminal() -> None:
    out = io.StringIO()
    write_table([replace(STRAY, reason="a\nb\x1b[2Jc")], out.write)
    assert "\x1b" not in out.getvalue()
    assert len(out.getvalue().splitlines()) == 2


@pytest.mark.parametrize("write", [write_json, write_table])
def test_rows_are_written_before_all_are_read(write: Any) -> None:
    out = io.StringIO()
    many = MEASURED_ROWS * 3

    def rows() -> Iterator[LedgerRow]:
        for number in range(many):
            written = out.getvalue().count("\n")
            assert number <= written + MEASURED_ROWS, "rows pile up in memory"
            yield ledger_row(arrival=number)

    write(rows(), out.write)
    assert out.getvalue().count("\n") > many


def test_a_reader_that_stops_half_way_does_not_hold_the_writer_up(make_world: MakeWorld) -> None:
    world = make_world(rounds__goal=5, rounds__concurrency=5)
    world.round(1.0, 2.0, 3.0)
    store = Store.open_to_read(world.folder / "state" / "coordinator.db")
    rows = each_update(store, Wanted(), page_rows=1)
    next(rows)
    late = world.answer(world.somebody(), 4.0)
    assert [row.update_id for row in rows][-1] == late, "no old look at the ledger is held open"
    store.close()


def test_a_run_or_verdict_that_is_not_there_is_said(
    make_world: MakeWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    state = str(make_world().folder / "state")
    assert main(["updates", "--state-dir", state, "--run", "xyz"]) == 2
    assert "expected the id of one run" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["updates", "--state-dir", state, "--verdict", "lost"])
    assert ended.value.code == 2


@pytest.mark.parametrize("number", ["99999999999999999999999", "1000000000", "-1"])
def test_a_round_that_no_run_can_have_is_an_error_of_the_user(
    number: str, make_world: MakeWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    state = str(make_world().folder / "state")
    assert main(["updates", "--state-dir", state, f"--round={number}"]) == 2
    said = capsys.readouterr().err
    assert f"--round: expected a model version from 0 to 999999999, got {number}" in said


def test_every_field_for_programs_is_explained() -> None:
    page = ROOT / "docs" / "how-to" / "answer-what-became-of-an-update.md"
    table = page.read_text("utf-8").partition("| field |")[2].partition("\n\n")[0]
    cells = [line.strip("|").split("|") for line in table.splitlines()[2:]]
    explained = [(re.findall(r"`(\w+)`", names), rest) for names, *rest in cells]
    for row, place in ((ledger_row(), 0), (STRAY, 1)):
        said = [name for names, rest in explained if rest[place].strip() for name in names]
        assert sorted(said) == sorted(facts_of(row))
