"""What the documentation says exists: links, commands, options, settings; and the site builds."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest

import mathtune
from command_for_tests import python
from docs_blocks import ROOT, blocks
from mathtune import config
from mathtune.cli.main import COMMANDS
from mathtune.config.schema import Recipe

DOCS = ROOT / "docs"
PAGES = sorted(
    [*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / ".github").rglob("*.md")],
    key=lambda path: path.as_posix(),
)
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES]
WITH_CODE = [path for path in PAGES if "```py\n" in path.read_text() and "add-" in path.name]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    files = [target.partition("#")[0] for target in targets if "://" not in target]
    missing = [name for name in files if name and not (page.parent / name).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_files_named_in_the_pages_exist(page: Path) -> None:
    named = re.findall(
        r"`((?:src|tests|docs|tools|examples|benchmarks|notebooks)/[\w./-]+)`",
        page.read_text("utf-8"),
    )
    assert not [name for name in named if not (ROOT / name).exists()]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_options_and_settings_in_the_pages_exist(page: Path) -> None:
    keys = {key for key, _, _ in config.knobs()} | set(Recipe.model_fields)
    wrong = []
    for words in _commands(page):
        command, rest = _command(words)
        if command is None:
            wrong.append(" ".join(words))
            continue
        options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        for word in rest:
            name = word.partition("=")[0]
            if word.startswith("-") and name not in {*options, "--help", "-h"}:
                wrong.append(f"{' '.join(words[:2])} {name}")
            elif re.fullmatch(r"[a-z_0-9]+(\.[a-z_0-9]+)+=.*", word, re.DOTALL):
                known = any(name == key or name.startswith(f"{key}.") for key in keys)
                if not known and name != "train.learnin_rate":  # wrong on purpose, in the tutorial
                    wrong.append(name)
    assert not wrong


def _commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of each call of mathtune in a page's shell blocks."""
    for block in blocks(page):
        for line in re.sub(r"\\\n\s*", " ", block.text).splitlines():
            for part in re.split(r"[|;]|&&", line):
                try:
                    words = shlex.split(part, comments=True)
                except ValueError:  # a part of a program, not of a command
                    continue
                if "mathtune" in words[:2] and words[0] in ("mathtune", "nice"):
                    yield words[words.index("mathtune") + 1 :]


def _command(words: list[str]) -> tuple[click.Command | None, list[str]]:
    """Return the command that the words call, or None, and the words that follow its name."""
    if words[:1] in (["--help"], ["--version"], []):
        return click.Command("mathtune"), []
    if words[0] not in COMMANDS:
        return None, words
    module = importlib.import_module(f"mathtune.cli.commands.{words[0].replace('-', '_')}")
    command: click.Command = module.command
    rest = words[1:]
    while isinstance(command, click.Group) and rest and rest[0] in command.commands:
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda path: path.stem)
def test_the_code_of_how_to_extend_runs(page: Path, tmp_path: Path) -> None:
    code = "\n".join(re.findall(r"```py\n(.*?)```", page.read_text("utf-8"), re.DOTALL))
    done = python(f"TESTS = {str(ROOT / 'tests')!r}\n{code}\n{_CHECKS[page.stem]}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


_CHECKS = {
    "add-a-dataset": """
assert pens.label('train') == 'pens-and-boxes:train'
pens.check_split('test')
""",
    "add-a-prompt-style": """
from mathtune.prompts import styles
assert TASK.before + 'Why?' + TASK.after == '### Task\\nWhy?\\n### Solution'
assert {field for field in TASK.__slots__} == {field for field in styles.QA.__slots__}
""",
    "add-a-grader": r"""
assert first_boxed(r'so \boxed{18} or \boxed{19}', '#### 18')
assert not first_boxed('18', '#### 18')
""",
    "add-an-objective": """
import sys
sys.path.insert(0, TESTS)
import torch
from mathtune.prompts import Renderer
from mathtune.records import Problem
from mathtune.training.batching.micro_batches import Limits, collate
from mathtune.training.loss.supervised import summed_loss
from models_for_tests import tiny_model
from tokenizers_for_tests import bpe

tokenizer = bpe()
render = Renderer(tokenizer, "qa")
short, long = (
    render.example(Problem(str(n), f"How many {n}?", "Tom has 3. " * n + "#### 3", "3"))
    for n in (1, 9)
)
model, objective = tiny_model("llama", len(tokenizer)).eval(), MeanPerExample()
each = [summed_loss(model, collate([item])) / item.targets for item in (short, long)]
items, limits = [short, long], Limits(8, 4096, 4096)
got = objective.loss_sum(model, items, limits) / objective.normaliser(items)
torch.testing.assert_close(got, (each[0] + each[1]) / 2)
""",
}


def test_the_pages_of_how_to_extend_are_checked() -> None:
    assert {page.stem for page in WITH_CODE} == set(_CHECKS)


class _Assets(HTMLParser):
    """Collects what a page makes a browser fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name = "href" if tag == "link" else "src"
        if tag in ("script", "link", "img", "iframe", "source") and given.get(name):
            self.found.append(str(given[name]))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly, in a process whose proxy leads nowhere."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "https_proxy": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_in_the_site_and_in_its_navigation(site: Path) -> None:
    navigation = (site / "index.html").read_text("utf-8")
    for page in DOCS.rglob("*.md"):
        name = page.relative_to(DOCS).with_suffix(".html").as_posix()
        assert (site / name).is_file()
        assert f'href="{name}"' in navigation, f"{name} is not in the nav of mkdocs.yml"


def test_the_site_fetches_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        assets = _Assets()
        assets.feed(page.read_text("utf-8"))
        assert assets.found and not [name for name in assets.found if "//" in name], page


def test_the_reference_has_every_command_setting_and_function(site: Path) -> None:
    commands = (site / "reference/commands.html").read_text("utf-8")
    for name in COMMANDS:
        assert f"Usage: mathtune {name}" in commands
    assert "Usage: mathtune models fetch" in commands
    settings = (site / "reference/settings.html").read_text("utf-8")
    for key, _, _ in config.knobs():
        assert f"<code>{key}</code>" in settings
    api = (site / "reference/api.html").read_text("utf-8")
    for name in mathtune.__all__:
        assert f'id="mathtune.api.{name}"' in api
