"""The wire that the tests break does what it says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.broker.tcp_proxy import Slowness, TcpProxy
from tests.e2e.services import wait_until


class Echo:
    """A server that says what it hears."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.accepted: list[socket.socket] = []
        self.ends: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.accepted.append(client)
            threading.Thread(target=self._echo, args=(client,), daemon=True).start()

    def _echo(self, client: socket.socket) -> None:
        try:
            while piece := client.recv(65536):
                client.sendall(piece)
            self.ends.append("farewell")
        except OSError as error:
            self.ends.append(type(error).__name__)

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for each in self.accepted:
            each.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[TcpProxy]:
    made = TcpProxy(echo.listener.getsockname())
    yield made
    made.close()


@pytest.fixture
def client(proxy: TcpProxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=30) as made:
        assert say(made, b"hello") == b"hello"
        yield made


def say(client: socket.socket, words: bytes) -> bytes:
    client.sendall(words)
    return client.recv(65536)


def test_a_cut_is_a_farewell_to_both_and_one_can_connect_again(
    proxy: TcpProxy, echo: Echo, client: socket.socket
) -> None:
    assert proxy.cut() == 1
    assert client.recv(1) == b""
    wait_until(lambda: echo.ends == ["farewell"], "the server to hear of it")
    assert proxy.cut() == 0
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=30) as again:
        assert say(again, b"again") == b"again"


def test_a_reset_is_an_error_to_both(proxy: TcpProxy, echo: Echo, client: socket.socket) -> None:
    assert proxy.reset() == 1
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    wait_until(lambda: echo.ends == ["ConnectionResetError"], "the server to hear of it")


def test_a_muted_broker_is_not_heard_and_hears(
    proxy: TcpProxy, echo: Echo, client: socket.socket
) -> None:
    (wire,) = proxy.mute("broker")
    client.sendall(b"12345")
    wait_until(lambda: wire.swallowed_bytes == 5, "the answer to be swallowed")
    client.close()
    wait_until(lambda: echo.ends == ["farewell"], "the server to hear the end")
    assert wire.ended.wait(30)


def test_the_end_of_a_muted_side_is_not_heard(
    proxy: TcpProxy, echo: Echo, client: socket.socket
) -> None:
    (wire,) = proxy.mute("client", "broker")
    echo.accepted[0].shutdown(socket.SHUT_RDWR)
    wait_until(lambda: "broker" in wire._over, "the server to be gone")
    client.sendall(b"12345")  # and nobody told the client
    wait_until(lambda: wire.swallowed_bytes == 5, "its words to be swallowed")
    assert not wire.ended.is_set()
    client.close()
    assert wire.ended.wait(30)


def test_a_slow_line_delivers_late_and_whole(proxy: TcpProxy, client: socket.socket) -> None:
    proxy.slow(Slowness(bytes_per_s=1e6, delay_s=0.01))
    client.sendall(bytes(20_000))
    got = 0
    while got < 20_000:
        got += len(client.recv(65536))
    assert proxy.delayed_bytes >= 20_000
    proxy.slow(None)
    late = proxy.delayed_bytes
    assert say(client, b"quick") == b"quick"
    assert say(client, b"quick") == b"quick"
    assert proxy.delayed_bytes <= late + 10  # what was on its way


def test_a_connection_on_which_nobody_spoke_does_not_count(proxy: TcpProxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=30):
        assert proxy.live() == []
        assert proxy.cut() == 0
