"""A TCP server in front of a real one, which drops connections at chosen points."""

from __future__ import annotations

import http.client
import socketserver
import threading
from typing import BinaryIO
from urllib.parse import urlsplit

# Where the connection ends: before the request is passed on; after the server has answered, of which nothing is
# passed back; after half of the answer. Or it does not end.
BEFORE, AFTER, MIDDLE, NOWHERE = "before", "after", "middle", "nowhere"


class FaultyProxy:
    """Passes requests on, each with the next fault of a plan.

    Attributes:
        url: Its base URL.
        faults: What becomes of the next requests; none of the later ones.
        passed: The method and target of each request that reached the server.
        connections: How many connections were opened.
    """

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname or "", parts.port or 0)
        self.faults: list[str] = []
        self.passed: list[tuple[str, str]] = []
        self.connections = 0
        self._lock = threading.Lock()
        proxy = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with proxy._lock:
                    proxy.connections += 1
                while proxy._exchange(self.rfile, self.wfile):  # type: ignore[arg-type]
                    pass

        class Proxy(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._server = Proxy(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()

    def _exchange(self, rfile: BinaryIO, wfile: BinaryIO) -> bool:
        """One request and its answer; whether the connection stays."""
        try:
            line = rfile.readline().decode()
            if not line.strip():
                return False
            method, target, _ = line.split()
            headers = http.client.parse_headers(rfile)
            body = rfile.read(int(headers.get("content-length") or 0))
            with self._lock:
                fault = self.faults.pop(0) if self.faults else NOWHERE
            if fault == BEFORE:
                return False
            upstream = http.client.HTTPConnection(*self._upstream, timeout=60)
            sent = {name: value for name, value in headers.items() if name.lower() != "content-length"}
            upstream.request(method, target, body or None, sent)
            answer = upstream.getresponse()
            content = answer.read()
            upstream.close()
            with self._lock:
                self.passed.append((method, target))
            if fault == AFTER:
                return False
            kept = {
                n: v
                for n, v in answer.getheaders()
                if n.lower() not in ("content-length", "transfer-encoding")
            }
            head = [f"HTTP/1.1 {answer.status} {answer.reason}", f"content-length: {len(content)}"]
            head += [f"{name}: {value}" for name, value in kept.items()]
            part = content[: len(content) // 2] if fault == MIDDLE else content
            wfile.write("\r\n".join([*head, "", ""]).encode() + part)
            wfile.flush()
            return fault == NOWHERE
        except OSError:
            return False
