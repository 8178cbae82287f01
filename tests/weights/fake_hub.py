"""A server on this machine that speaks the hub's protocol, and its faults."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_RESOLVE = re.compile(r"/([^/]+/[^/]+)/resolve/[0-9a-f]{40}/(.+)")
_TREE = re.compile(r"/api/models/([^/]+/[^/]+)/tree/")
_MODEL = re.compile(r"/api/models/([^/]+/[^/]+)$")
_LARGE = 10_000
"""Bytes from which on a file is kept in LFS."""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324 - git's


@dataclass
class Hub:
    """What is published, what goes wrong, and what was asked.

    Attributes:
        files: (repository, path) to content.
        gated: Repositories whose licence was not accepted.
        cuts: Path to lengths: the connection breaks after so many bytes of an answer, once each.
        lies: Path to what is really sent.
        stated: Instead of the digests of large files.
        down: Answers 503 to everything.
        requests: Method, path, range and authorization of every request.
        url: Of the server.
    """

    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    cuts: dict[str, list[int]] = field(default_factory=dict)
    lies: dict[str, bytes] = field(default_factory=dict)
    stated: str = ""
    down: bool = False
    requests: list[tuple[str, str, str, str]] = field(default_factory=list)
    url: str = ""

    def sent(self, path: str) -> list[str]:
        """The ranges in which the content of a file was asked for."""
        digest = sha256(next(c for (_, p), c in self.files.items() if p == path))
        return [r for m, p, r, _ in self.requests if m == "GET" and p.endswith(digest)]

    def tree(self, repository: str) -> list[dict[str, object]]:
        entries = []
        for (owner, path), content in sorted(self.files.items()):
            if owner != repository:
                continue
            entry = {"type": "file", "path": path, "size": len(content), "oid": blob(content)}
            if len(content) >= _LARGE:
                digest = self.stated or sha256(content)
                entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
            entries.append(entry)
        return entries


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        asked = (self.headers.get("Range", ""), self.headers.get("Authorization", ""))
        self.hub.requests.append((self.command, path, *asked))
        if self.hub.down:
            self._send(503, b"down")
        elif path.startswith("/storage/"):
            self._send_content(path.rpartition("/")[2])
        elif match := _RESOLVE.fullmatch(path):
            self._resolve(*match.groups())
        elif match := _TREE.match(path):
            self._send_json(self.hub.tree(match[1]))
        elif (match := _MODEL.match(path)) and self.hub.tree(match[1]):
            self._send_json({"id": match[1], "sha": COMMIT, "siblings": []})
        else:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})

    def _resolve(self, repository: str, path: str) -> None:
        content = self.hub.files.get((repository, path.replace("%2B", "+")))
        if repository in self.hub.gated:
            self._send(403, b"", {"X-Error-Code": "GatedRepo"})
        elif content is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        elif len(content) < _LARGE:
            body = self.hub.lies.get(path, content)
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{blob(content)}"'}
            self._send(200, body, headers)
        else:
            self._send(
                302,
                b"",
                {
                    "X-Repo-Commit": COMMIT,
                    "X-Linked-ETag": f'"{sha256(content)}"',
                    "X-Linked-Size": str(len(content)),
                    "Location": f"http://localhost:{self.server.server_address[1]}/storage/{sha256(content)}",
                },
            )

    def _send_content(self, digest: str) -> None:
        path, content = next(
            (path, c) for (_, path), c in self.hub.files.items() if sha256(c) == digest
        )
        content = self.hub.lies.get(path, content)
        start = int((self.headers.get("Range") or "bytes=0-")[6:].partition("-")[0])
        headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        cuts = self.hub.cuts.get(path, [])
        self._send(
            206 if start else 200,
            content[start:],
            headers if start else {},
            cut=cuts.pop(0) if cuts else None,
        )

    def _send_json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        cut: int | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True

    def log_message(self, *_arguments: object) -> None:
        """Nothing; tests have their own output."""


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Run the server."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
