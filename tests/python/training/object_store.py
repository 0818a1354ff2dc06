"""A stand-in for an object store: as much of S3 as reading, listing and writing files takes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]
    uploads: dict[str, dict[int, bytes]]

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _asked(self) -> tuple[str, dict[str, list[str]]]:
        url = urlsplit(self.path)
        return unquote(url.path).lstrip("/"), parse_qs(url.query, keep_blank_values=True)

    def do_HEAD(self) -> None:
        key, _ = self._asked()
        found = self.objects.get(key)
        if found is None and not key.strip("/").count("/"):
            self._answer(200 if key.strip("/") else 404)
        elif found is None:
            self._answer(404)
        else:
            self._answer(200, Content_Length=str(len(found)), ETag='"x"')

    def do_GET(self) -> None:
        key, query = self._asked()
        if "list-type" in query:
            prefix = key.strip("/") + "/" + query.get("prefix", [""])[0]
            names = sorted(name for name in self.objects if name.startswith(prefix))
            entries = "".join(
                f"<Contents><Key>{name.partition('/')[2]}</Key><Size>{len(self.objects[name])}</Size>"
                "<LastModified>2026-03-15T10:00:00.000Z</LastModified></Contents>"
                for name in names
            )
            text = (
                f"<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>{len(names)}</KeyCount>"
                f"{entries}</ListBucketResult>"
            )
            self._answer(200, text.encode(), Content_Type="application/xml")
            return
        found = self.objects.get(key)
        if found is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        start, _, end = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        part = found[int(start) : int(end) + 1 if end else None]
        self._answer(
            206, part, Content_Range=f"bytes {start}-{int(start) + len(part) - 1}/{len(found)}", ETag='"x"'
        )

    def do_PUT(self) -> None:
        key, query = self._asked()
        body = self._body()
        if "partNumber" in query:
            self.uploads.setdefault(key, {})[int(query["partNumber"][0])] = body
        else:
            self.objects[key] = body
        self._answer(200, ETag='"x"')

    def do_POST(self) -> None:
        key, query = self._asked()
        self._body()
        if "uploads" in query:
            text = "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"
        else:
            parts = self.uploads.pop(key)
            self.objects[key] = b"".join(parts[number] for number in sorted(parts))
            text = "<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>"
        self._answer(200, text.encode(), Content_Type="application/xml")

    def do_DELETE(self) -> None:
        key, _ = self._asked()
        self.objects.pop(key, None)
        self._answer(204)

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "") or "aws-chunked" in self.headers.get(
            "Content-Encoding", ""
        ):
            return self._chunks()
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _chunks(self) -> bytes:
        http = "chunked" in self.headers.get("Transfer-Encoding", "")
        raw = self._http_chunks() if http else self.rfile.read(int(self.headers["Content-Length"]))
        if "aws-chunked" not in self.headers.get("Content-Encoding", ""):
            return raw
        body = b""
        while raw:
            head, _, raw = raw.partition(b"\r\n")
            size = int(head.partition(b";")[0] or b"0", 16)
            if size == 0:
                return body
            body, raw = body + raw[:size], raw[size + 2 :]
        return body

    def _http_chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@contextmanager
def object_store() -> Iterator[tuple[str, dict[str, bytes]]]:
    """A running one.

    Yields:
        What follows the path of a URL, and the objects by bucket and key.
    """
    objects: dict[str, bytes] = {}
    handler = type("Handler", (_Handler,), {"objects": objects, "uploads": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        options = f"scheme=http&endpoint_override=127.0.0.1:{server.server_port}&region=us-east-1"
        yield options, objects
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
