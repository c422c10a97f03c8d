"""Carrying out what a transaction asked for, once it has committed."""

from __future__ import annotations

from typing import assert_never

from broker.topology import Names
from broker.transport import Transport
from coordinator.answers import source_of
from coordinator.connection import Connection
from coordinator.effects import (
    Ack,
    AddToSum,
    AnswerPresence,
    AnswerStart,
    AnswerUnwanted,
    AskAgain,
    DropTasks,
    Effect,
    FetchParts,
    ForgetObject,
    ForgetParts,
    LookAtModel,
    PartKept,
    PublishRefused,
    PublishTask,
    PutAgain,
    TellChanges,
)
from coordinator.fetching import Fetches
from coordinator.spool import Spool
from coordinator.telling import Telling
from coordinator.writing import RunWriter


class Effects:
    """Those who do what effects say."""

    def __init__(
        self,
        transport: Transport,
        names: Names,
        spool: Spool,
        run: RunWriter,
        connection: Connection,
        telling: Telling,
        fetches: Fetches | None = None,
    ) -> None:
        self._transport = transport
        self._names = names
        self._spool = spool
        self._run = run
        self._connection = connection
        self._telling = telling
        self._fetches = fetches

    def carry_out(self, effects: list[Effect]) -> None:
        """Carry out the effects of one transaction, in their order."""
        for effect in effects:
            self._carry_out(effect)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Ack():
                if self._fetches is None or self._fetches.settle(effect.tag):
                    self._transport.ack(effect.tag)
            case AddToSum():
                self._run.versions.add(effect.update, effect.where)
            case PublishTask():
                self._connection.publish_task(effect.task_id)
            case PutAgain():
                self._connection.put_again(effect.task_id)
            case PublishRefused():
                self._connection.publish_copy(effect.body, effect.message_id, effect.routing_key)
            case AnswerStart():
                self._telling.start(effect)
            case AnswerUnwanted():
                self._telling.unwanted(effect)
            case AnswerPresence():
                self._answer(effect)
            case AskAgain():
                self._telling.ask_again(effect.to)
            case ForgetParts():
                self._spool.parts.forget(effect.update_id)
            case FetchParts() | PartKept() | ForgetObject():
                if self._fetches is not None:  # else another process had put it there
                    self._carry_from_depot(self._fetches, effect)
            case LookAtModel():
                self._connection.look_at_model(effect.worker_id)
            case DropTasks():
                self._transport.purge(self._names.task_queue)
                self._telling.changes()
            case TellChanges():
                self._telling.changes()
            case _:
                assert_never(effect)

    def _carry_from_depot(
        self, fetches: Fetches, effect: FetchParts | PartKept | ForgetObject
    ) -> None:
        match effect:
            case FetchParts():
                fetches.begin(effect.delivery, effect.update, effect.missing, effect.part_bytes)
            case PartKept():
                fetches.kept(effect.upload, effect.index, effect.taken)
            case ForgetObject():
                fetches.delete(effect.upload)
            case _:
                assert_never(effect)

    def _answer(self, effect: AnswerPresence) -> None:
        """Answer a worker; one that is sent to its own queue, as soon as it has one."""
        presence = effect.presence
        run, evaluations = self._run.state.run, self._run.evaluations
        own = source_of(run, evaluations, presence.worker_id) == "own"
        if own and effect.to is not None and not presence.leaving:
            self._connection.when_queue_is_there(
                presence.worker_id, lambda: self._telling.presence(effect)
            )
        else:
            self._telling.presence(effect)
