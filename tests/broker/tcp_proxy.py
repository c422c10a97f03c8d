"""A wire between a client and a broker that can be cut, reset, muted, slowed, and set up late.

    client ──▶ TcpProxy ──▶ broker        each connection is a `Wire`: two flows, a thread each

Every fault tells what it did (connections, bytes), so that a test can be sure that it happened.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

Side = Literal["client", "broker"]

BOTH: tuple[Side, ...] = ("client", "broker")
_PIECE_BYTES = 65536
_SLOW_PIECE_BYTES = 8192
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: closing sends RST and drops the rest


@dataclass(frozen=True, slots=True)
class Slowness:
    """What a slow line does to each piece of some KiB.

    Attributes:
        bytes_per_s: Bandwidth.
        delay_s: On top of it.
    """

    bytes_per_s: float
    delay_s: float


class TcpProxy:
    """Forwards connections to a broker.

    Args:
        target: Its host and port.
        port: Where clients connect at 127.0.0.1, 0 for any that is free.
    """

    def __init__(self, target: tuple[str, int], port: int = 0) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._wires: list[Wire] = []
        self._ever: list[Wire] = []
        self._slow = _Slow()
        threading.Thread(target=self._accept, daemon=True).start()

    def live(self) -> list[Wire]:
        """The connections that both sides have said something on."""
        with self._lock:
            self._wires = [wire for wire in self._wires if not wire.ended.is_set()]
            return [wire for wire in self._wires if all(wire.heard_bytes.values())]

    def heard_bytes(self, side: Side) -> int:
        """What a side has ever said, on all connections."""
        with self._lock:
            return sum(wire.heard_bytes[side] for wire in self._ever)

    def mute(self, *sides: Side) -> list[Wire]:
        """Lose what these sides say, their end too, on the connections there are.

        Returns those that both sides had spoken on. Of none, the broker is muted.
        """
        live = self.live()
        for wire in self._all():
            wire.muted |= set(sides or ("broker",))
        return live

    def slow(self, slowness: Slowness | None) -> None:
        """Let everything take its time, also on connections to come; None: not any more."""
        self._slow.set(slowness)

    @property
    def delayed_bytes(self) -> int:
        """How much was ever forwarded late."""
        return self._slow.delayed_bytes

    def cut(self) -> int:
        """End the connections there are; clients can connect again. How many were alive."""
        return self._end(Wire.close)

    def reset(self) -> int:
        """As `cut`, with RST to both sides instead of a farewell."""
        return self._end(Wire.reset)

    def close(self) -> None:
        """End everything."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.slow(None)
        self.cut()

    def _end(self, how: Callable[[Wire], None]) -> int:
        live = self.live()
        with self._lock:
            wires, self._wires = self._wires, []
        for wire in wires:
            how(wire)
        return len(live)

    def _all(self) -> list[Wire]:
        with self._lock:
            return list(self._wires)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._wires.append(Wire(client, broker, self._slow))
                self._ever.append(self._wires[-1])


class Wire:
    """One connection on both sides.

    Attributes:
        muted: Sides whose words and end do not reach the other.
        heard_bytes: What each side has said.
        swallowed_bytes: What of it was lost.
        ended: Set when nothing is forwarded any more.
    """

    def __init__(self, client: socket.socket, broker: socket.socket, slow: _Slow) -> None:
        self.muted: set[Side] = set()
        self.heard_bytes: dict[Side, int] = dict.fromkeys(BOTH, 0)
        self.swallowed_bytes = 0
        self.ended = threading.Event()
        self._slow = slow
        self._sockets: dict[Side, socket.socket] = {"client": client, "broker": broker}
        self._lock = threading.Lock()
        self._over: set[Side] = set()
        self._resetting = False
        for side in BOTH:
            threading.Thread(target=self._forward, args=(side,), daemon=True).start()

    def close(self) -> None:
        """End it on both sides."""
        for each in self._sockets.values():
            if not self._resetting:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            each.close()
        self.ended.set()

    def reset(self) -> None:
        """End it with RST on both sides."""
        self._resetting = True
        with suppress(OSError):
            for each in self._sockets.values():
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            for each in self._sockets.values():
                # Wakes the thread that reads it and sends nothing: until then it is not closed.
                each.shutdown(socket.SHUT_RD)
        self.close()

    def _forward(self, side: Side) -> None:
        source, sink = self._sockets[side], self._sockets[_other(side)]
        with suppress(OSError):
            while piece := source.recv(self._slow.piece_bytes):
                self.heard_bytes[side] += len(piece)
                self._slow.wait(len(piece))
                if side in self.muted:
                    self.swallowed_bytes += len(piece)
                else:
                    sink.sendall(piece)
        self._end_of(side)

    def _end_of(self, side: Side) -> None:
        """A side has gone; if it is muted the other does not hear of it."""
        if self._resetting:
            return  # `reset` closes, once it has woken both threads that read
        with self._lock:
            self._over.add(side)
            last = len(self._over) == len(BOTH)
        if last or side not in self.muted:
            self.close()


class _Slow:
    """How slow a proxy's lines are now."""

    def __init__(self) -> None:
        self.delayed_bytes = 0
        self._now: Slowness | None = None
        self._changed = threading.Event()

    @property
    def piece_bytes(self) -> int:
        return _PIECE_BYTES if self._now is None else _SLOW_PIECE_BYTES

    def set(self, slowness: Slowness | None) -> None:
        self._now, changed = slowness, self._changed
        self._changed = threading.Event()
        changed.set()

    def wait(self, num_bytes: int) -> None:
        now = self._now
        if now is not None:
            self._changed.wait(now.delay_s + num_bytes / now.bytes_per_s)
            self.delayed_bytes += num_bytes


def _other(side: Side) -> Side:
    return "broker" if side == "client" else "client"
