"""What is recorded of the repository in which a run was started."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mathtune.provenance import provenance


def test_only_changed_files_that_git_tracks_make_the_source_dirty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance()["git"] is None

    def git(*arguments: str) -> str:
        who = ["-c", "user.name=Tom", "-c", "user.email=tom@example.com"]
        done = subprocess.run(["git", *who, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "-q")
    Path("recipe.yaml").write_text("name: mine\n")
    git("add", "recipe.yaml")
    git("commit", "-qm", "A recipe")
    Path("new.yaml").write_text("name: new\n")
    assert provenance()["git"] == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    Path("recipe.yaml").write_text("name: changed\n")
    assert provenance()["git"]["dirty"] is True
