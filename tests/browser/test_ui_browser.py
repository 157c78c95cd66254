"""Every tab of the page in a real browser. Without Chromium every test skips and says so."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium_pipe import Page, browser, executable
from report_run_folder import build
from ui_browser import click, fill, text, texts, wait
from ui_for_tests import served

from mathtune import config
from mathtune.models.files import resolve

pytestmark = pytest.mark.skipif(
    executable() is None, reason="no chromium, chromium-browser, google-chrome or chrome on PATH"
)

TABS = ("/", "/run/one", "/compare", "/try", "/data", "/train")
ROWS = "#list > tr:not(.detail)"
TRICKS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\ufeff]")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs with hostile answers, and one whose model can be asked."""
    root = tmp_path_factory.mktemp("root") / "runs"
    build(root / "one", rows=120)
    build(root / "two<img src=x onerror=hacked()>", rows=60)
    asked = build(root / "asked", parts=("metrics",))
    recipe = config.load("demo", ["eval.max_new_tokens=24"])
    (asked / "recipe.yaml").write_text(config.dump(recipe))
    shutil.copytree(resolve("tiny-base"), asked / "model")
    return root


@pytest.fixture(scope="module")
def site(page: Page, root: Path) -> Iterator[str]:
    """The address of the page, which the browser knows the key to."""
    with served(root) as start:
        page.open(start)
        yield start.partition("/?")[0]


def quiet(page: Page, site: str) -> None:
    """Nothing went wrong, and nothing was asked of anyone but the page's own server."""
    assert page.errors == []
    outside = [each for each in page.requests if not each.startswith((f"{site}/", "data:,"))]
    assert page.requests and outside == []


def test_without_the_key_a_browser_gets_nothing(page: Page, root: Path, site: str) -> None:
    with served(root) as other:
        page.open(other.partition("?")[0])
        assert "Open the address that mathtune ui printed" in text(page, "body")


@pytest.mark.parametrize("tab", TABS)
def test_each_tab_opens_quietly_and_fits_a_phone(page: Page, site: str, tab: str) -> None:
    for width in (360, 1200):
        page.open(site + tab, width=width)
        if tab in ("/", "/run/one"):
            wait(page, "document.querySelectorAll('svg.chart').length > 2")
        if tab in ("/data", "/train"):
            wait(page, "document.querySelectorAll('.knob').length > 5")
        assert page.run("document.documentElement.scrollWidth <= innerWidth"), width
    unnamed = """[...document.querySelectorAll('input, select, textarea, button')].filter((e) =>
        !(e.labels && e.labels.length) && !e.ariaLabel && !e.textContent.trim()).length"""
    assert page.run(unnamed) == 0  # a screen reader has a name for every control
    assert page.run("document.querySelectorAll('h1').length") == 1
    assert page.run("document.querySelectorAll('nav a[aria-current=page]').length") == 1
    quiet(page, site)


def test_curves_of_several_runs_are_laid_over_each_other(page: Page, site: str) -> None:
    page.open(site)
    wait(page, f"document.querySelectorAll('{ROWS}').length === 3")
    page.run(
        "for (const box of document.querySelectorAll('#list input:not(:checked)')) box.click()"
    )
    page.run(
        "for (const box of document.querySelectorAll('#list input:not(:checked)')) box.click()"
    )
    wait(page, "document.querySelectorAll('#legend li').length === 3")
    wait(page, "document.querySelectorAll('#charts figure:first-child path.curve').length === 3")
    fill(page, "#search", "two<img")
    wait(page, f"document.querySelectorAll('{ROWS}').length === 1")
    assert texts(page, "#list .name a") == ["two<img src=x onerror=hacked()>"]
    assert page.run("document.querySelectorAll('img').length") == 0
    quiet(page, site)


def test_answers_are_filtered_searched_and_paged(page: Page, site: str, root: Path) -> None:
    page.open(f"{site}/run/one")
    wait(page, f"document.querySelectorAll('{ROWS}').length === 25")
    comparison = json.loads((root / "one" / "results.json").read_text())["comparisons"][0]
    assert texts(page, "#show button")[1:3] == [
        f"Gained {comparison['gained']}",
        f"Lost {comparison['lost']}",
    ]
    status = "document.querySelector('#status').textContent"
    click(page, "[data-show=gained]")
    wait(page, f"{status} === '1–25 of {comparison['gained']}'")
    click(page, "#next")
    wait(page, f"{status}.startsWith('26–50')")
    file = root / "one" / "predictions" / "tuned.jsonl"
    question = json.loads(file.read_text().splitlines()[100])["question"]
    click(page, "[data-show=all]")
    fill(page, "#search", question)
    wait(page, f"{status} === '1–1 of 1'")
    assert texts(page, f"{ROWS} .short") == [question]
    quiet(page, site)


def test_what_a_model_wrote_stays_text(page: Page, site: str) -> None:
    page.open(f"{site}/run/one")
    wait(page, f"document.querySelectorAll('{ROWS}').length === 25")
    click(page, "#expand")
    shown = "\n".join(texts(page, ".detail pre"))
    assert "</script><script>window.hacked = 1</script>" in shown
    assert '<img src="https://leak.invalid/a.png" onerror="window.hacked = 2">' in shown
    assert "\\u202e24\\u202c 4\\u200b2 \\x1b]8;;" in shown
    assert not TRICKS.search(str(page.run("document.documentElement.textContent")))
    assert page.run("window.hacked === undefined")
    assert page.run("document.querySelectorAll('img, pre script, [onmouseover]').length") == 0
    assert "false" in texts(page, ".detail mark.false .hidden")[0]
    quiet(page, site)
    # Even what got through could neither be parsed, run nor load.
    page.run("try { document.body.innerHTML = '<b>x</b>' } catch { window.refused = true }")
    assert page.run("window.refused") is True
    page.run(
        """(() => { const picture = document.createElement('img');
        picture.src = 'https://leak.invalid/x.png'; document.body.append(picture); })()"""
    )
    wait(page, "true")
    assert any("leak.invalid" in error for error in page.errors)


def test_two_files_are_compared(page: Page, site: str, root: Path) -> None:
    page.open(f"{site}/compare")
    for model in ("base", "tuned"):
        name = f"one/predictions/{model}.jsonl"
        wait(page, f"""document.querySelector('[aria-label="Choose {name}"]')""")
        click(page, f'[aria-label="Choose {name}"]')
    click(page, "#compare")
    wait(page, f"document.querySelectorAll('{ROWS}').length === 25")
    comparison = json.loads((root / "one" / "results.json").read_text())["comparisons"][0]
    cells = texts(page, "#sides tr:last-child td")
    assert (cells[3], cells[4]) == (str(comparison["gained"]), str(comparison["lost"]))
    assert "a real gain" in text(page, "#verdicts")
    click(page, "[data-show=lost]")
    wait(page, f"document.querySelector('#status').textContent.endsWith(' {comparison['lost']}')")
    quiet(page, site)


def test_base_and_tuned_answer_the_first_example(page: Page, site: str) -> None:
    page.open(f"{site}/try")
    assert page.run("document.querySelector('#question').value") == (
        "What is 125 * 45 + 678? Show your work."
    )
    click(page, "#ask")
    wait(page, "document.querySelector('#status').textContent === 'Answered.'")
    for side in ("base", "tuned"):
        assert "125" in text(page, f"#{side} pre")
        assert re.search(r"\d+ tokens · (ended|cut off|stopped)", text(page, f"#{side} .why"))
        assert text(page, f"#{side} .verdict-word")
    assert text(page, "#base pre") == text(page, "#tuned pre")  # the same weights here
    quiet(page, site)


def test_a_recipes_data_is_shown_token_by_token(page: Page, site: str, tmp_path: Path) -> None:
    rows = [
        {"question": f"Ann has {n} red pens and {n} blue pens in her bag. How many pens are there "
         "in all in the bag of Ann today?", "answer": f"{n} + {n} = {2 * n}\n#### {2 * n}"}
        for n in range(5, 25)
    ]  # fmt: skip
    rows[3] = rows[4]
    other = [{"question": f"What is {n} + 1?", "answer": f"#### {n + 1}"} for n in range(20)]
    for name, part in (("train", rows + other), ("test", rows[10:])):
        lines = "".join(json.dumps(row) + "\n" for row in part)
        (tmp_path / f"{name}.jsonl").write_text(lines)
    page.open(f"{site}/data")
    wait(page, "document.querySelectorAll('.knob').length > 5")
    settings = [
        f"data.train=[{tmp_path}/train.jsonl]",
        f"data.test=[{tmp_path}/test.jsonl]",
        "data.validation=[]",
    ]
    fill(page, "#more", "\n".join(settings))
    click(page, "#look")
    wait(
        page, "!document.querySelector('#near').hidden || !document.querySelector('#fault').hidden"
    )
    assert text(page, "#fault") == ""
    assert "shares 13 words" in text(page, "#split-rows tr")
    supervised = "".join(texts(page, "#examples figure:first-child .token.target"))
    assert "#### " in supervised and "What is" not in supervised
    assert "What is" in "".join(texts(page, "#examples figure:first-child .token.prompt"))
    assert texts(page, ".pair h3")[:2] == ["Training", "Test"]
    assert "red pens" in text(page, ".pair p")
    quiet(page, site)
