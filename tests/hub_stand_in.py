"""A Hugging Face hub of this machine's own: serves the files of a folder over HTTP, and counts what it is asked."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """`models` and `datasets` name a folder for each repository."""

    models: dict[str, Path] = field(default_factory=dict)
    datasets: dict[str, Path] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str) -> tuple[Path | Any, int]:
        """The file, or the JSON data, at an address, and the status."""
        parts = path.strip("/").split("/")
        if parts[0] == "api":
            kind, repo, rest = parts[1], "/".join(parts[2:4]), parts[4:]
            folder = getattr(self, kind, {}).get(repo)
            return (self._api(folder, repo, rest), 200) if folder else ({"error": "Repository not found"}, 404)
        kind, parts = ("datasets", parts[1:]) if parts[0] == "datasets" else ("models", parts)
        folder = getattr(self, kind).get("/".join(parts[:2]))
        if folder is None:
            return {"error": "Repository not found"}, 404
        file = folder / "/".join(parts[4:])
        return (file, 200) if parts[2] == "resolve" and file.is_file() else ({"error": "Entry not found"}, 404)

    def _api(self, folder: Path, repo: str, rest: list[str]) -> Any:
        files = [f for f in sorted(folder.rglob("*")) if f.is_file()]
        listed = [
            {"type": "file", "path": f.relative_to(folder).as_posix(), "size": f.stat().st_size, "oid": _oid(f)}
            for f in files
        ]
        if rest[:1] == ["tree"]:
            inside = "/".join(rest[2:])
            return [entry for entry in listed if entry["path"].startswith(inside)]
        if rest[:1] == ["paths-info"]:
            return listed
        siblings = [{"rfilename": entry["path"]} for entry in listed]
        return {"id": repo, "sha": COMMIT, "siblings": siblings, "private": False, "disabled": False, "tags": []}


def _oid(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()


@contextlib.contextmanager
def serve() -> Iterator[Hub]:
    """A hub that listens on this machine while the block runs."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(f"{self.command} {path}")
            found, status = hub.answer(path)
            body = found.read_bytes() if isinstance(found, Path) else json.dumps(found).encode()
            first, last = self._range(len(body))
            self.send_response(206 if "Range" in self.headers else status)
            self.send_header("Content-Length", str(last - first))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Accept-Ranges", "bytes")
            if isinstance(found, Path):
                self.send_header("ETag", f'"{_oid(found)}"')
                if "Range" in self.headers:
                    self.send_header("Content-Range", f"bytes {first}-{last - 1}/{len(body)}")
            else:
                self.send_header("Content-Type", "application/json")
                if status == 404:
                    code = "EntryNotFound" if "Entry" in found["error"] else "RepoNotFound"
                    self.send_header("X-Error-Code", code)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[first:last])

        do_HEAD = do_GET

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def _range(self, size: int) -> tuple[int, int]:
            wanted = self.headers.get("Range", "").removeprefix("bytes=")
            if not wanted:
                return 0, size
            first, _, last = wanted.partition("-")
            return int(first), min(int(last) + 1, size) if last else size

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
