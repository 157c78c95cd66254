"""A small Hugging Face Hub on loopback, so that the real client code is what the tests run.

Repositories are folders: ``ROOT/datasets/OWNER/NAME`` and ``ROOT/models/OWNER/NAME``. The client
reads its address when it is imported, so use it in a subprocess::

    with HubServer(tmp_path) as hub:
        subprocess.run([sys.executable, "-c", code], env={**os.environ, **hub.environment(cache)})

``hub.requests`` lists what was asked for, ``hub.commit("datasets", "openai/gsm8k")`` is a revision.
Models can be pushed. With ``tokens``, who comes with another token is refused; a model in ``gated``
is for the tokens that it lists.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


class HubServer:
    """Serves the repositories below ``root``; every branch and tag but ``main`` is unknown."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.requests: list[str] = []
        self.tokens: set[str] = set()
        self.read_only: set[str] = set()
        self.gated: dict[str, set[str]] = {}
        self.public: set[str] = set()
        self.cut_off: str | None = None
        """Of a file of this name only the first half is sent, then the connection ends."""
        self.stalls = threading.Event()
        """Set: the second upload waits until this is cleared, and is lost."""
        self.uploaded: dict[str, bytes] = {}
        hub = self

        class Handler(_Handler):
            server_hub = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> HubServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def environment(self, cache: Path) -> dict[str, str]:
        """Variables that send the client here, with a cache of its own."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(cache),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
            "HF_HUB_OFFLINE": "0",
        }

    def folder(self, kind: str, repo: str) -> Path:
        return self.root / kind / repo

    def files(self, kind: str, repo: str) -> list[Path]:
        return sorted(p for p in self.folder(kind, repo).rglob("*") if p.is_file())

    def commit(self, kind: str, repo: str) -> str:
        """Revision of a repository: a hash of its files, so that a change is a new commit."""
        digest = hashlib.sha1()
        for path in self.files(kind, repo):
            digest.update(str(path.relative_to(self.folder(kind, repo))).encode())
            digest.update(path.read_bytes())
        return digest.hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server_hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(body)

    def do_PUT(self) -> None:
        hub, length = self.server_hub, int(self.headers["Content-Length"])
        oid = self.path.rpartition("/")[2]
        hub.requests.append(f"PUT {self.path}")
        if hub.stalls.is_set() and len(hub.uploaded) == 1:
            while hub.stalls.is_set():
                time.sleep(0.01)
            self.close_connection = True
            return None
        hub.uploaded[oid] = self.rfile.read(length)
        return self._send(200, b"", "text/plain")

    @property
    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _is_refused(self, path: str) -> bool:
        """Answer a request whose token is not good enough; return whether it was one."""
        hub = self.server_hub
        if self._token and hub.tokens and self._token not in hub.tokens:
            message = "Invalid credentials in Authorization header"
            self._error(401, "", message, {"X-Error-Message": message})
            return True
        for repo, accepted in hub.gated.items():
            if f"/{repo}/resolve/" in path and self._token not in accepted:
                status = 403 if self._token else 401
                self._error(status, "GatedRepo", f"Access to model {repo} is restricted.")
                return True
        writes = self.command == "POST" and ("/commit/" in path or "/create" in path)
        if writes and self._token in hub.read_only:
            self._error(403, "", "You don't have the rights to create a model under this namespace")
            return True
        return False

    def _answer(self, body: bytes = b"") -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        self.server_hub.requests.append(f"{self.command} {path}")
        if self._is_refused(path):
            return None
        if self.command == "POST" and self._pushed(path, body):
            return None
        if path == "/":
            return self._send(200, b"hub", "text/plain")
        if match := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            kind = "datasets" if match[1] else "models"
            return self._resolve(kind, match[2], match[3], match[4])
        if match := re.fullmatch(
            r"/api/resolve-cache/(datasets|models)/([^/]+/[^/]+)/(\w+)/(.+)", path
        ):
            return self._resolve(match[1], match[2], match[3], match[4])
        pattern = (
            r"/api/(datasets|models)/([^/]+/[^/]+?)(?:/(revision|tree|paths-info)/([^/]+)/?(.*))?"
        )
        if match := re.fullmatch(pattern, path):
            kind, repo, action, revision, rest = match.groups()
            if not self._exists(kind, repo, revision or "main"):
                return None
            if action == "tree":
                recursive = parse_qs(url.query).get("recursive", ["false"])[0].lower() in (
                    "true",
                    "1",
                )
                return self._json(self._tree(kind, repo, rest, recursive))
            if action == "paths-info":
                return self._json(self._paths_info(kind, repo, body))
            return self._json(self._info(kind, repo))
        return self._error(404, "", "not found")

    def _pushed(self, path: str, body: bytes) -> bool:
        """Answer a request that belongs to a push; return whether it was one."""
        hub = self.server_hub
        if path == "/api/repos/create":
            asked = json.loads(body)
            repo = f"{asked['organization']}/{asked['name']}"
            there = hub.folder("models", repo).is_dir()
            hub.folder("models", repo).mkdir(parents=True, exist_ok=True)
            private = asked.get("private") or asked.get("visibility") == "private"
            if not private and not there:
                hub.public.add(repo)
            text = json.dumps({"url": f"{hub.url}/{repo}", "error": "you already created it"})
            self._send(409 if there else 200, text.encode(), "application/json")
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", path):
            files = json.loads(body)["files"]
            self._json({"files": [
                {"path": f["path"], "shouldIgnore": False,
                 "uploadMode": "lfs" if f["path"].endswith(".safetensors") else "regular"}
                for f in files
            ]})  # fmt: skip
        elif path.endswith(".git/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            for each in objects:
                if each["oid"] not in hub.uploaded:
                    each["actions"] = {"upload": {"href": f"{hub.url}/upload/{each['oid']}"}}
            self._json({"transfer": "basic", "objects": objects})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            self._commit(match[1], body)
        else:
            return False
        return True

    def _commit(self, repo: str, body: bytes) -> None:
        hub = self.server_hub
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                continue
            place = hub.folder("models", repo) / value["path"]
            place.parent.mkdir(parents=True, exist_ok=True)
            lfs = line["key"] == "lfsFile"
            place.write_bytes(
                hub.uploaded[value["oid"]] if lfs else base64.b64decode(value["content"])
            )
        oid = hub.commit("models", repo)
        self._json({"commitUrl": f"{hub.url}/{repo}/commit/{oid}", "commitOid": oid})

    def _exists(self, kind: str, repo: str, revision: str) -> bool:
        if not self.server_hub.folder(kind, repo).is_dir():
            self._error(404, "RepoNotFound", "Repository not found")
        elif revision not in ("main", self.server_hub.commit(kind, repo)):
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            return True
        return False

    def _resolve(self, kind: str, repo: str, revision: str, name: str) -> None:
        if not self._exists(kind, repo, revision):
            return
        path = self.server_hub.folder(kind, repo) / name
        commit = {"X-Repo-Commit": self.server_hub.commit(kind, repo)}
        if not path.is_file():
            return self._error(404, "EntryNotFound", "Entry not found", commit)
        content = path.read_bytes()
        headers = {**commit, "ETag": f'"{_oid(content)}"', "Accept-Ranges": "bytes"}
        status = 200
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, end = int(match[1]), int(match[2] or len(content) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
            content, status = content[start : end + 1], 206
        if self.command == "GET" and name == self.server_hub.cut_off:
            self._send(status, content, "application/octet-stream", headers, half=True)
            return
        self._send(status, content, "application/octet-stream", headers)

    def _info(self, kind: str, repo: str) -> dict[str, Any]:
        folder = self.server_hub.folder(kind, repo)
        names = [str(p.relative_to(folder)) for p in self.server_hub.files(kind, repo)]
        return {
            "_id": _oid(repo.encode())[:24],
            "id": repo,
            "sha": self.server_hub.commit(kind, repo),
            "private": repo not in self.server_hub.public,
            "gated": False,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "createdAt": "2024-01-01T00:00:00.000Z",
            "lastModified": "2024-01-01T00:00:00.000Z",
            "siblings": [{"rfilename": name} for name in names],
        }

    def _tree(self, kind: str, repo: str, under: str, recursive: bool) -> list[dict[str, Any]]:
        folder = self.server_hub.folder(kind, repo)
        start = folder / under
        found = start.rglob("*") if recursive else start.glob("*")
        return [_entry(folder, path) for path in sorted(found)]

    def _paths_info(self, kind: str, repo: str, body: bytes) -> list[dict[str, Any]]:
        folder = self.server_hub.folder(kind, repo)
        if "json" in self.headers.get("Content-Type", ""):
            wanted = json.loads(body)["paths"]
        else:
            wanted = parse_qs(body.decode()).get("paths", [])
        wanted = [wanted] if isinstance(wanted, str) else wanted
        return [_entry(folder, folder / name) for name in wanted if (folder / name).exists()]

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), "application/json")

    def _error(
        self, status: int, code: str, text: str, headers: dict[str, str] | None = None
    ) -> None:
        extra = {"X-Error-Code": code, "X-Error-Message": text} if code else {}
        body = json.dumps({"error": text}).encode()
        self._send(status, body, "application/json", {**extra, **(headers or {})})

    def _send(
        self,
        status: int,
        body: bytes,
        kind: str,
        headers: dict[str, str] | None = None,
        *,
        half: bool = False,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        if half:
            if "Range" not in self.headers:  # the client tries again at once
                self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        elif self.command != "HEAD":
            self.wfile.write(body)


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def _entry(folder: Path, path: Path) -> dict[str, Any]:
    name = str(path.relative_to(folder))
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": _oid(name.encode()), "size": 0}
    content = path.read_bytes()
    return {"type": "file", "path": name, "oid": _oid(content), "size": len(content)}
