"""`fedmq dead` beside a coordinator: what it shows, sends again and deletes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from broker.memory import MemoryTransport
from broker.transport import Delivered, Outgoing, Post, Transport
from coordinator import letters
from fedmq import dead
from fedmq.cli import main
from schemas import frame
from schemas.digest import digest_of
from schemas.messages import Declined, Update, decode, encode
from simulation.mishaps import Crash
from tests.coordinator.feeder import Feeder
from tests.coordinator.world import MakeWorld, World, make_world, steps

__all__ = ["make_world", "steps"]  # fixtures

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `fedmq dead` over a world's broker; its exit code and what it said."""

    def run(world: World, *words: str, state: bool = True) -> tuple[int, str, str]:
        def opened(url: str, post: Post, name: str, **options: Any) -> Transport:
            return MemoryTransport(world.broker, post, name)

        monkeypatch.setattr(dead, "open_transport", opened)
        folder = world.folder / ("state" if state else "nowhere")
        capsys.readouterr()
        code = main(["dead", *words[:1], "--state-dir", str(folder), *words[1:]])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def newer(body: bytes) -> bytes:
    """The same message in a protocol that is not known yet."""
    return body[:16] + b"\x02\x00" + body[18:]


def prepared(world: World) -> tuple[Feeder, Update, bytes]:
    worker = world.somebody()
    task, start = world.begin_task(worker)
    update = worker.update(task, start, world.layout, 1.0)
    return worker, update, worker.payload(world.layout, 1.0)


def refused(world: World, **change: Any) -> tuple[Update, bytes]:
    """An update that is refused, with an id."""
    worker, update, payload = prepared(world)
    update = replace(update, **{"num_examples": 0, **change})
    worker.send(update, payload)
    world.step()
    return update, encode(update, payload)


def stray(world: World, body: bytes) -> str:
    """Bytes that are refused without an id; what `fedmq dead` calls them."""
    worker = world.somebody()
    worker.send_bytes(body, world.run_row().run_id)
    world.step()
    return digest_of(body)[:12]


def test_it_lists_what_was_refused_and_why(make_world: MakeWorld, command: Command) -> None:
    world = make_world()
    update, body = refused(world)
    stray(world, b"garbage")
    code, said, _ = command(world, "list")
    lines = said.splitlines()
    assert code == 0
    assert lines[0] == "refused: 2 messages"
    assert lines[1].split()[:4] == [digest_of(body)[:12], "update", update.worker_id, "update"]
    assert update.update_id[:8] in lines[1]
    assert "malformed" in lines[1]
    assert lines[1].endswith("num_examples is 0: it stands for nothing")
    assert lines[2].split()[:4] == [digest_of(b"garbage")[:12], "not", "a", "message"]
    assert "malformed" in lines[2]
    assert len(lines) == 3


def test_looking_changes_nothing(make_world: MakeWorld, command: Command) -> None:
    world = make_world()
    refused(world)
    stray(world, b"garbage")
    before = command(world, "list")
    for _ in range(30):
        command(world, "list")
    assert command(world, "list") == before
    assert world.ready("refused") == 2


def test_a_program_can_read_the_list(make_world: MakeWorld, command: Command) -> None:
    world = make_world()
    update, body = refused(world)
    for _ in range(2):
        stray(world, b"garbage")
    _, said, _ = command(world, "list", "--json")
    listed = json.loads(said)
    first, second = listed["messages"]
    assert (listed["refused"], listed["parked"], listed["not_looked_at"]) == (3, 0, 0)
    assert (first["id"], first["update"], first["verdict"]) == (
        digest_of(body),
        update.update_id,
        "malformed",
    )
    assert first["routing_key"] == f"u.{update.run_id}.0.{update.worker_id}"
    assert (second["kind"], second["times"], second["verdict"]) == (
        "not a message",
        2,
        "malformed",
    )


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_what_the_queue_does_not_take_back_is_an_error_in_both_forms(
    make_world: MakeWorld, command: Command, form: list[str]
) -> None:
    world = make_world()
    stray(world, b"garbage")
    world.broker.refuse(True)
    code, said, error = command(world, "list", *form)
    world.broker.refuse(False)
    assert code == 2
    assert digest_of(b"garbage")[:12] in said
    assert error.startswith("fedmq: the broker took 1 message not back")
    assert world.ready("refused") == 1


def test_a_long_list_is_cut_and_goes_on(make_world: MakeWorld, command: Command) -> None:
    world = make_world()
    ids = [stray(world, b"garbage %d" % number) for number in range(5)]
    _, said, _ = command(world, "list", "--most", "3")
    assert [line.split()[0] for line in said.splitlines()[1:4]] == ids[:3]
    assert "2 messages more were not looked at" in said
    _, said, _ = command(world, "list", "--most", "3")
    assert [line.split()[0] for line in said.splitlines()[1:4]] == [*ids[3:], ids[0]]


def test_it_says_how_many_are_parked_and_leaves_them_to_the_coordinator(
    make_world: MakeWorld, command: Command
) -> None:
    world = make_world()
    worker, update, payload = prepared(world)
    world.kill()
    body = encode(update, payload)
    worker.transport.publish(Outgoing(world.names.dead_exchange, "u.x.0.w", body))
    _, said, _ = command(world, "list")
    assert "parked: 1 message that the broker gave up on; the coordinator takes" in said
    world.begin()
    assert world.verdict(update.update_id) == "counted"
    assert "parked" not in command(world, "list")[1]


def test_without_the_state_folder_the_rest_is_shown(
    make_world: MakeWorld, command: Command
) -> None:
    world = make_world()
    update, body = refused(world)
    code, said, _ = command(world, "list", state=False)
    assert code == 0
    assert update.update_id[:8] in said
    assert "verdicts are not known here: there is no store at" in said
    code, said, _ = command(world, "show", digest_of(body)[:12], state=False)
    assert code == 0
    assert "verdict    not known" in said


def test_it_works_while_no_coordinator_runs(make_world: MakeWorld, command: Command) -> None:
    world = make_world()
    name = stray(world, b"garbage")
    world.kill()
    assert name in command(world, "list")[1]


def test_it_shows_a_message_without_its_numbers(make_world: MakeWorld, command: Command) -> None:
    world = make_world()
    worker, update, payload = prepared(world)
    payload = payload[:-4] + b"\xff\xff\xff\xff"
    update = replace(update, payload_digest=digest_of(payload))
    worker.send(update, payload)
    world.step()
    name = digest_of(encode(update, payload))[:12]
    code, said, _ = command(world, "show", name)
    assert code == 0
    assert "kind       update" in said
    assert "verdict    non-finite: " in said
    assert f"  update_id = {update.update_id}" in said
    assert "  num_examples = 10" in said
    assert f"came by    u.{update.run_id}.0.{update.worker_id}" in said
    assert f"payload    {len(payload)} bytes, its digest holds" in said
    count = len(payload) // 4
    assert f"as float32: {count} numbers, 1 of them not finite, the largest of the others 1" in said


@pytest.mark.parametrize("body", [b"", b"\x00", b"garbage\x1b[2J" * 100, b"fmq\0" + bytes(60)])
def test_any_bytes_are_shown_as_what_they_are_not(
    make_world: MakeWorld, command: Command, body: bytes
) -> None:
    world = make_world()
    code, said, _ = command(world, "show", stray(world, body))
    assert code == 0
    assert "not a message" in said
    assert "\x1b" not in said
    assert said.count("\n00000") == min(4, -(-len(body) // 16))


def test_a_newer_protocol_is_said_to_be_one(make_world: MakeWorld, command: Command) -> None:
    world = make_world()
    _, update, payload = prepared(world)
    _, said, _ = command(world, "show", stray(world, newer(encode(update, payload))))
    assert "protocol version 2 is newer than 1: upgrade this side" in said
    assert "verdict    unsupported version" in said


def test_after_an_upgrade_what_was_not_understood_is_judged_anew(
    make_world: MakeWorld, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    worker, update, payload = prepared(world)
    body = newer(encode(update, payload))
    worker.send_bytes(body, update.run_id, update.update_id)
    world.step()
    assert world.strays() == {"unsupported version": 1}
    monkeypatch.setattr(frame, "PROTOCOL_VERSION", 2)
    code, said, _ = command(world, "requeue", digest_of(body)[:12])
    world.step()
    assert code == 0
    assert "it took no id when it was refused as unsupported version: it is judged anew" in said
    assert world.verdict(update.update_id) == "counted"
    assert world.strays() == {}
    row = world.read(lambda work: work.stray(digest_of(body)))
    assert (row.verdict, row.accepted_at) == ("unsupported version", world.now)
    assert world.ready("refused") == 0


def test_what_is_still_not_understood_comes_back(make_world: MakeWorld, command: Command) -> None:
    world = make_world()
    _, update, payload = prepared(world)
    name = stray(world, newer(encode(update, payload)))
    assert command(world, "requeue", name)[0] == 0
    assert world.ready("refused") == 0
    world.step()
    assert name in command(world, "list")[1]
    assert world.strays() == {"unsupported version": 1}
    row = world.read(lambda work: work.stray(digest_of(newer(encode(update, payload)))))
    assert (row.copies, row.accepted_at) == (1, None)


def test_the_newest_verdict_of_the_same_bytes_is_the_one_that_is_told(
    make_world: MakeWorld, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    _, update, payload = prepared(world)
    name = stray(world, newer(encode(replace(update, update_id="0" * 32), payload)))
    monkeypatch.setattr(frame, "PROTOCOL_VERSION", 2)
    command(world, "requeue", name)
    world.step()
    assert world.strays() == {"malformed": 1}
    assert "its update id does not follow from its task and worker" in command(world, "list")[1]


def test_an_update_with_a_verdict_is_only_a_copy_and_that_is_said(
    make_world: MakeWorld, command: Command
) -> None:
    world = make_world()
    update, body = refused(world)
    code, said, _ = command(world, "requeue", digest_of(body)[:12])
    world.step()
    assert code == 0
    assert "has its verdict, malformed, for ever: this will only be noted as a copy" in said
    row = world.ledger(update.update_id)
    assert (row.verdict, row.copies) == ("malformed", 1)


def test_what_is_not_known_of_its_verdict_is_said_too(
    make_world: MakeWorld, command: Command
) -> None:
    world = make_world()
    _, body = refused(world)
    code, said, error = command(world, "requeue", digest_of(body)[:12], state=False)
    assert code == 0
    assert "if its update has its verdict already, this is only noted as a copy" in said
    assert "verdicts are not known here" in error


class Deadly:
    """Bytes that end the process that decodes them, until it is mended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
        self.mended = False

        def deadly(came: bytes) -> object:
            if bytes(came) == body and not self.mended:
                raise Crash("decode")
            return decode(came)

        monkeypatch.setattr("coordinator.intake.decode", deadly)
        monkeypatch.setattr("coordinator.batch.parked.decode", deadly)


@pytest.mark.parametrize("mended", [True, False])
def test_poison_is_judged_anew_and_may_end_three_more_processes_only(
    make_world: MakeWorld, command: Command, monkeypatch: pytest.MonkeyPatch, mended: bool
) -> None:
    world = make_world()
    worker, update, payload = prepared(world)
    body = encode(update, payload)
    deadly = Deadly(monkeypatch, body)
    key = world.names.update_key(update.run_id, 0, worker.worker_id)
    worker.transport.publish(Outgoing(world.names.dead_exchange, key, body, update.update_id))
    world.step()
    assert world.strays() == {"poison": 1}
    name = digest_of(body)[:12]
    assert "taken up 3 times, and each time the coordinator stopped" in command(world, "list")[1]
    deadly.mended = mended
    lives = len(world.lives)
    code, said, _ = command(world, "requeue", name)
    world.step()
    assert code == 0
    assert "it will do so three more times" in said
    assert world.ready("parked") == world.ready("update") == 0
    if mended:
        assert world.verdict(update.update_id) == "counted"
        assert world.strays() == {}
    else:
        assert len(world.lives) == lives + 3
        assert world.strays() == {"poison": 1}
        assert world.ready("refused") == 1


@pytest.mark.parametrize("trimmed", [True, False])
def test_poison_that_is_not_known_as_such_ends_three_more_processes_and_not_twenty(
    make_world: MakeWorld, command: Command, monkeypatch: pytest.MonkeyPatch, trimmed: bool
) -> None:
    world = make_world()
    if trimmed:
        monkeypatch.setattr("coordinator.writing.STRAYS_KEPT", 0)
    worker, update, payload = prepared(world)
    body = encode(update, payload)
    Deadly(monkeypatch, body)
    key = world.names.update_key(update.run_id, 0, worker.worker_id)
    worker.transport.publish(Outgoing(world.names.dead_exchange, key, body, update.update_id))
    world.step()
    assert world.ready("refused") == 1
    lives = len(world.lives)
    code, said, _ = command(world, "requeue", digest_of(body)[:12], state=trimmed)
    world.step()
    assert code == 0
    assert "the coordinator takes it up as what the broker gave up on" in said
    assert len(world.lives) == lives + 3
    assert world.ready("refused") == 1


def test_poison_that_says_nothing_of_itself_goes_back_to_be_taken_up_again(
    make_world: MakeWorld, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    deadly = Deadly(monkeypatch, b"deadly")
    worker = world.somebody()
    worker.transport.publish(Outgoing(world.names.dead_exchange, "any", b"deadly"))
    world.step()
    assert world.strays() == {"poison": 1}
    deadly.mended = True
    assert command(world, "requeue", digest_of(b"deadly")[:12])[0] == 0
    world.step()
    assert world.strays() == {"malformed": 1}


def test_a_control_message_goes_back_to_the_control_queue(
    make_world: MakeWorld, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    worker = world.somebody()
    task, tag = worker.take()
    worker.transport.ack(tag)
    token = worker.say_taken(task)
    world.step()
    assert worker.answers_of(token)
    declined = encode(Declined(task.run_id, task.task_id, "w1", task.incarnation, "late"))
    worker.ask_bytes("declined", newer(declined))
    world.step()
    monkeypatch.setattr(frame, "PROTOCOL_VERSION", 2)
    command(world, "requeue", digest_of(newer(declined))[:12])
    world.step()
    assert world.task_row(task.task_id).state == "declined"


def test_a_copy_of_an_earlier_version_goes_where_it_says_itself(
    make_world: MakeWorld, command: Command
) -> None:
    world = make_world()
    worker, update, payload = prepared(world)
    body = encode(update, payload)
    where = world.names.refused_queue.name
    worker.transport.publish(Outgoing("", where, body, update.update_id))
    worker.transport.publish(Outgoing("", where, b"garbage"))
    code, _, error = command(world, "requeue", digest_of(body)[:12], digest_of(b"garbage")[:12])
    world.step()
    assert code == 2
    assert "is kept: nothing says where it came from" in error
    assert world.verdict(update.update_id) == "counted"
    assert world.refused() == [b"garbage"]


def test_nothing_is_sent_in_a_workers_name_where_that_would_be_refused(
    make_world: MakeWorld, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    _, body = refused(world)
    monkeypatch.setenv("FEDMQ_COORDINATOR_SENDERS", "users")
    code, _, error = command(world, "requeue", digest_of(body)[:12])
    assert code == 2
    assert "coordinator.senders" in error
    assert world.ready("refused") == 1


@pytest.mark.parametrize("verb", ["show", "requeue", "purge"])
def test_what_is_not_there_is_said(make_world: MakeWorld, command: Command, verb: str) -> None:
    world = make_world()
    stray(world, b"garbage")
    code, _, error = command(world, verb, "0" * 12)
    assert code == 2
    assert error == f"fedmq: {'0' * 12}: there is no such message in refused\n"
    assert world.ready("refused") == 1


@pytest.mark.parametrize("verb", ["show", "requeue", "purge"])
@pytest.mark.parametrize("word", ["", "abc", "xyzxyzxyzxyz", "0" * 65])
def test_an_id_is_as_it_is_listed(
    make_world: MakeWorld, command: Command, verb: str, word: str
) -> None:
    code, _, error = command(make_world(), verb, word)
    assert code == 2
    assert "12 or more hexadecimal digits" in error


def test_chosen_ones_are_deleted(make_world: MakeWorld, command: Command) -> None:
    world = make_world()
    name = stray(world, b"garbage")
    stray(world, b"garbage")
    stray(world, b"kept")
    code, said, _ = command(world, "purge", name)
    assert (code, said) == (0, f"{name}  deleted, 2 times\n")
    assert world.refused() == [b"kept"]


def test_all_are_deleted_after_saying_how_many(make_world: MakeWorld, command: Command) -> None:
    world = make_world()
    stray(world, b"garbage")
    stray(world, b"rubbish")
    code, said, _ = command(world, "purge", "--all")
    assert (code, said) == (0, "deleting 2 messages in refused\n")
    assert world.ready("refused") == 0


@pytest.mark.parametrize("words", [[], ["--all", "--parked"], ["0" * 12, "--all"]])
def test_what_is_to_be_deleted_is_said_in_one_way(
    make_world: MakeWorld, command: Command, words: list[str]
) -> None:
    world = make_world()
    stray(world, b"garbage")
    assert command(world, "purge", *words)[0] == 2
    assert world.ready("refused") == 1


def test_what_is_parked_is_deleted_only_by_who_has_read_what_that_loses(
    make_world: MakeWorld, command: Command
) -> None:
    world = make_world()
    worker, update, payload = prepared(world)
    world.kill()
    body = encode(update, payload)
    worker.transport.publish(Outgoing(world.names.dead_exchange, "u.x.0.w", body))
    assert command(world, "purge", "--all")[0] == 0
    code, _, error = command(world, "purge", "--parked")
    assert code == 2
    assert "they would be lost for good" in error
    assert world.ready("parked") == 1
    code, said, error = command(world, "purge", "--parked", "--yes")
    assert (code, said) == (0, "deleted 1 message in parked\n")
    assert "they would be lost for good" in error
    assert world.ready("parked") == 0


def test_ctrl_c_is_clean(
    make_world: MakeWorld, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    for number in range(40):
        stray(world, b"garbage %d" % number)
    before = signal.getsignal(signal.SIGINT)
    looked = 0

    def interrupted(delivered: Delivered) -> letters.Letter:
        nonlocal looked
        looked += 1
        if looked == 3:
            signal.raise_signal(signal.SIGINT)
        return letters.letter_of(delivered)

    monkeypatch.setattr(dead, "letter_of", interrupted)
    assert command(world, "list") == (130, "", "")
    assert signal.getsignal(signal.SIGINT) is before
    assert looked < 40
    assert world.ready("refused") == 40


def test_a_broker_that_is_not_there_is_one_line() -> None:
    words = ["dead", "list"]
    script = "import sys; from fedmq.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, *words],
        env={"FEDMQ_BROKER_URL": "amqp://guest:secret@127.0.0.1:1/", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "secret" not in done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("fedmq: the broker is not reached: ")
