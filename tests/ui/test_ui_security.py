"""Nobody but the user's own browser gets anything from the page."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote
from urllib.request import HTTPCookieProcessor, Request, build_opener

import pytest
from report_run_folder import build
from ui_for_tests import ORIGIN, TOKEN, client

ADDRESSES = ("/", "/train", "/run/one", "/api/runs", "/api/files", "/static/ui.css", "/nothing")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root") / "runs"
    build(root / "one", rows=30)
    return root


def test_without_the_token_every_address_answers_403(root: Path) -> None:
    with client(root, known=False) as page:
        for address in ADDRESSES:
            assert page.get(address).status_code == 403, address
        assert page.get("/", params={"key": TOKEN[:-1]}).status_code == 403
        assert page.get("/api/runs", params={"key": TOKEN}).status_code == 403
        assert page.post("/api/stop", json={}, headers={"origin": ORIGIN}).status_code == 403


def test_the_address_that_the_command_prints_opens_the_page(root: Path) -> None:
    command = [sys.executable, "-m", "mathtune", "ui", "--no-browser", "--root", str(root)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr
        found = re.search(r"http://\S+", server.stderr.readline())
        try:
            assert found and re.search(r"/\?key=[0-9a-f]{64}$", found[0])
            cookies = build_opener(HTTPCookieProcessor())
            with cookies.open(found[0]) as page:
                assert page.status == 200 and b"<h1" in page.read()
            asked = {"task": "plan", "recipe": "demo"}
            address, origin = f"{page.url}api/stream", {"Origin": page.url.rstrip("/")}
            answering = cookies.open(Request(address, json.dumps(asked).encode(), origin))
        finally:
            server.send_signal(signal.SIGINT)
        said = server.stderr.read()
        assert "Traceback" not in said and "continues" not in said  # though a worker was answering
        answering.close()
        assert server.wait(20) == 130


def test_the_token_becomes_a_cookie_that_no_script_or_other_page_can_use(root: Path) -> None:
    with client(root, known=False) as page:
        answer = page.get("/", params={"key": TOKEN}, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie
        assert page.get("/").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1", "127.0.0.1:80"])
def test_a_foreign_host_is_refused(root: Path, host: str) -> None:
    with client(root) as page:
        assert page.get("/api/runs", headers={"host": host}).status_code == 403
        assert page.get("/", params={"key": TOKEN}, headers={"host": host}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_requests_of_other_pages_are_refused(root: Path, headers: dict[str, str]) -> None:
    with client(root) as page:
        assert page.get("/api/runs", headers=headers).status_code == 403
        assert page.post("/api/stop", json={"run": "one"}, headers=headers).status_code == 403


def test_what_changes_something_must_say_where_it_comes_from(root: Path) -> None:
    with client(root) as page:
        del page.headers["origin"]
        assert page.get("/api/runs").status_code == 200
        assert page.post("/api/stop", json={"run": "one"}).status_code == 403


def test_every_answer_forbids_foreign_code_and_requests(root: Path) -> None:
    with client(root) as page:
        for address in (*ADDRESSES, "/api/curves?run=one"):
            headers = page.get(address).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy and "script-src 'self'" in policy
            assert "unsafe" not in policy and "connect-src 'self'" in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "name", ["..", "../outside", "/etc", "one/../../outside", "link", "%00", ""]
)
def test_nothing_outside_the_root_is_read(root: Path, name: str) -> None:
    outside = build(root.parent / "outside", rows=5)
    if not (root / "link").exists():
        (root / "link").symlink_to(outside)
        (root / "file.jsonl").symlink_to(outside / "predictions" / "base.jsonl")
    with client(root) as page:
        assert page.get("/api/run", params={"run": name}).status_code == 400
        assert page.get("/api/curves", params={"run": name}).status_code == 400
        for file in (f"{name}/predictions/base.jsonl", "file.jsonl", "one/recipe.yaml"):
            assert page.get("/api/answers", params={"file": file}).status_code == 400, file
        address = quote(name, safe="").replace(".", "%2E")
        assert page.get(f"/run/{address}").status_code == 404
        for each in ("stop", "continue"):
            assert page.post(f"/api/{each}", json={"run": name}).status_code == 400
        assert "link" not in page.get("/api/runs").text


def test_a_file_that_says_which_process_to_end_is_not_believed(root: Path) -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        job = f'{{"pid": {sleeper.pid}, "began": 1.0, "action": "train"}}'
        (root / "one" / ".job.json").write_text(job)
        with client(root) as page:
            answer = page.post("/api/stop", json={"run": "one"})
        assert answer.status_code == 400 and "has ended" in answer.json()["faults"][0]
        assert sleeper.poll() is None
    finally:
        (root / "one" / ".job.json").unlink()
        sleeper.kill()
        sleeper.wait()


def test_only_recipes_of_the_list_and_settings_become_a_command(root: Path) -> None:
    with client(root) as page:
        for recipe in ("/etc/passwd", "../x.yaml", "--help"):
            answer = page.post("/api/prepare", json={"recipe": recipe, "action": "run"})
            assert answer.status_code == 400, recipe
        for more in ("--fresh", "--run-dir=/tmp/x", "nonsense=1", "train"):
            asked = {"recipe": "demo", "more": more, "action": "run"}
            answer = page.post("/api/prepare", json=asked)
            assert "is not a setting" in answer.json()["faults"][0], more
        asked = {"recipe": "demo", "action": "grade"}
        assert page.post("/api/prepare", json=asked).status_code == 400


def test_the_server_needs_no_torch() -> None:
    code = "import sys, mathtune.ui.app, mathtune.ui.server; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, timeout=120
    )
    assert done.stdout.strip() == "False", done.stderr


def test_without_its_packages_the_command_says_how_to_install_them(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['starlette'] = None\n"
        "from mathtune.cli.main import main; sys.argv = ['mathtune', 'ui', '--no-browser']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert done.returncode == 2
    assert done.stderr == (
        "mathtune: the page needs the package starlette, which is not installed; "
        "pip install 'mathtune[ui]'\n"
    )
