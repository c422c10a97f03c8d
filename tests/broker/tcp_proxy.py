"""A wire between a client and a broker that can be cut, muted, and set up late."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

_PIECE_BYTES = 65536


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
        self._pairs: list[_Pair] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def mute(self) -> None:
        """Lose what the broker says on the connections there are."""
        with self._lock:
            for pair in self._pairs:
                pair.muted = True

    def cut(self) -> None:
        """End the connections there are; clients can connect again."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            pair.close()

    def close(self) -> None:
        """End everything."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

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
                self._pairs.append(_Pair(client, broker))


class _Pair:
    """One connection on both sides."""

    def __init__(self, client: socket.socket, broker: socket.socket) -> None:
        self.muted = False
        self._sockets = (client, broker)
        for source, sink in ((client, broker), (broker, client)):
            threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    def close(self) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(_PIECE_BYTES):
                if not (self.muted and source is self._sockets[1]):
                    sink.sendall(piece)
        self.close()
