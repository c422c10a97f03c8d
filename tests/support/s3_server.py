"""As much of an S3-compatible store as a depot asks for, on loopback, in memory."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "models-of-ours"
KEY, SECRET = "AKIAEXAMPLE", "a-secret-that-nobody-may-see"


@dataclass
class S3Store:
    """What the store has, and what it is to do wrong.

    Attributes:
        objects: Name in the bucket to bytes.
        unfinished: Uploads in parts that are not complete.
        requests: Method and path of each request.
        refuse: How many of the next requests are answered with 503.
        cut_body_at: The body of the next answer to a GET ends after so many bytes; None: not.
        stop_reads_of: What is read with this in its name is not answered, "" for nothing.
        stopped_reads: How many reads were not answered.
        served_bytes: Of the bodies of all answers to GET.
    """

    objects: dict[str, bytes] = field(default_factory=dict)
    put_at: dict[str, datetime] = field(default_factory=dict)
    unfinished: dict[str, dict[int, bytes]] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    refuse: int = 0
    cut_body_at: int | None = None
    stop_reads_of: str = ""
    stopped_reads: int = 0
    served_bytes: int = 0
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)
    numbers: Iterator[int] = field(default_factory=count)

    def keep(self, name: str, data: bytes) -> None:
        """Put an object."""
        with self.lock:
            self.objects[name] = data
            self.put_at[name] = datetime.now(UTC)


@contextmanager
def s3_server() -> Iterator[S3Store]:
    """A store with one empty bucket `BUCKET`, for as long as the context lasts."""
    store = S3Store()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"store": store}))
    server.daemon_threads = True
    store.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    store: S3Store
    protocol_version = "HTTP/1.1"
    timeout = 10.0

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._do()

    def do_HEAD(self) -> None:
        self._do()

    def do_PUT(self) -> None:
        self._do()

    def do_POST(self) -> None:
        self._do()

    def do_DELETE(self) -> None:
        self._do()

    def _do(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query, True).items()}
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.store.requests.append((self.command, self.path))
        if self.store.refuse > 0:
            self.store.refuse -= 1
            return self._answer(503, b"<Error><Code>SlowDown</Code></Error>")
        if f"Credential={KEY}/" not in (self.headers.get("authorization") or ""):
            return self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        bucket, _, name = unquote(url.path).lstrip("/").partition("/")
        if bucket != BUCKET:
            return self._answer(404, b"<Error><Code>NoSuchBucket</Code></Error>")
        match self.command:
            case "GET" | "HEAD" if name:
                self._stop_or_go_on(name)
                return self._get(name)
            case "GET":
                return self._list(query.get("prefix", ""))
            case "PUT" if "uploadId" in query:
                self.store.unfinished[query["uploadId"]][int(query["partNumber"])] = body
                return self._answer(200, etag=True)
            case "PUT":
                self.store.keep(name, body)
                return self._answer(200, etag=True)
            case "POST" if "uploads" in query:
                number = f"upload-{next(self.store.numbers)}"
                self.store.unfinished[number] = {}
                return self._answer(200, f"<R><UploadId>{number}</UploadId></R>".encode())
            case "POST":
                parts = self.store.unfinished.pop(query["uploadId"])
                self.store.keep(name, b"".join(parts[n] for n in sorted(parts)))
                return self._answer(200, b"<R><ETag>e</ETag></R>")
            case "DELETE" if "uploadId" in query:
                self.store.unfinished.pop(query["uploadId"], None)
                return self._answer(204)
            case _:
                self.store.objects.pop(name, None)
                return self._answer(204)

    def _stop_or_go_on(self, name: str) -> None:
        stop = self.store.stop_reads_of
        if self.command == "GET" and stop and stop in name:
            self.store.stopped_reads += 1
            while self.store.stop_reads_of == stop:
                threading.Event().wait(0.01)

    def _get(self, name: str) -> None:
        data = self.store.objects.get(name)
        if data is None:
            return self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range") or "")
        if found is None:
            return self._answer(200, data, etag=True)
        start, end = int(found[1]), min(int(found[2] or len(data)) + 1, len(data))
        if start >= len(data):
            return self._answer(416)
        span = f"bytes {start}-{end - 1}/{len(data)}"
        return self._answer(206, data[start:end], etag=True, content_range=span)

    def _list(self, prefix: str) -> None:
        with self.store.lock:
            rows = [
                f"<Contents><Key>{escape(name)}</Key><Size>{len(data)}</Size><ETag>e</ETag>"
                f"<LastModified>{self.store.put_at[name]:%Y-%m-%dT%H:%M:%S.000Z}</LastModified>"
                "</Contents>"
                for name, data in sorted(self.store.objects.items())
                if name.startswith(prefix)
            ]
        text = f"<L><IsTruncated>false</IsTruncated>{''.join(rows)}</L>"
        self._answer(200, text.encode())

    def _answer(
        self, status: int, body: bytes = b"", *, etag: bool = False, content_range: str = ""
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", f"{datetime.now(UTC):%a, %d %b %Y %H:%M:%S GMT}")
        if etag:
            self.send_header("ETag", '"e"')
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        if self.command == "HEAD":
            return
        cut, self.store.cut_body_at = self.store.cut_body_at, None
        if cut is not None and status in (200, 206):
            self.close_connection = True
        self.wfile.write(body[:cut])
        if self.command == "GET":
            self.store.served_bytes += len(body[:cut])
