"""The report as a browser shows it. Needs Chromium; without one every test skips and says so."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium_pipe import Page, browser, executable
from report_run_folder import build

from mathtune import report

pytestmark = pytest.mark.skipif(
    executable() is None, reason="no chromium, chromium-browser, google-chrome or chrome on PATH"
)

ROWS = "#list > tr:not(.detail)"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build(tmp_path_factory.mktemp("run"))
    report.write(folder)
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> str:
    return (folder / "report.html").as_uri()


def texts(page: Page, selector: str) -> list[str]:
    script = f"[...document.querySelectorAll({json.dumps(selector)})].map((e) => e.textContent)"
    return list(page.run(script))


def click(page: Page, selector: str) -> None:
    page.run(f"document.querySelector({json.dumps(selector)}).click()")


def test_the_page_opens_without_errors_or_requests(page: Page, address: str) -> None:
    page.open(address)
    assert page.errors == []
    assert page.requests == [address]
    assert page.run(f"document.querySelectorAll('{ROWS}').length") == 25
    assert texts(page, "#status") == ["1–25 of 200"]


def test_hostile_answers_stay_text(page: Page, address: str) -> None:
    page.open(address)
    click(page, "#expand")
    assert page.run("document.querySelectorAll('.detail').length") == 25
    shown = "\n".join(texts(page, ".detail pre"))
    assert "</script><script>window.hacked = 1</script>" in shown
    assert '<img src="https://leak.invalid/a.png" onerror="window.hacked = 2">' in shown
    # What would turn text round, hide in it or speak to a terminal that it is pasted into.
    assert "\\u202e24\\u202c 4\\u200b2 \\x1b]8;;" in shown
    everything = page.run("document.documentElement.textContent")
    assert not re.search(
        r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\ufeff]", everything
    )
    assert page.run("window.hacked === undefined")
    assert page.run("document.querySelectorAll('img, #list script, [onmouseover]').length") == 0
    assert page.requests == [address] and page.errors == []


def test_markup_that_got_through_could_neither_run_nor_load(page: Page, address: str) -> None:
    page.open(address)
    inject = """document.body.insertAdjacentHTML('beforeend',
      '<img src="https://leak.invalid/x.png" onerror="window.hacked = 4">');
      const s = document.createElement('script'); s.textContent = 'window.hacked = 5';
      document.body.append(s);
      new Promise((done) => setTimeout(() => done(window.hacked === undefined), 200))"""
    assert page.run(inject)
    assert page.errors  # the browser reports what the policy refused


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 700, 1200])
def test_the_page_never_scrolls_sideways(page: Page, address: str, width: int, theme: str) -> None:
    page.open(address, width=width)
    page.run(f"document.documentElement.dataset.theme = '{theme}'")
    page.run("for (const d of document.querySelectorAll('details')) d.open = true")
    click(page, "#expand")
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    outside = """[...document.querySelectorAll('main *')].filter((e) => {
        const box = e.getBoundingClientRect();
        return box.right > document.documentElement.clientWidth + 1 && !e.closest('.scroll');
      }).map((e) => e.outerHTML.slice(0, 80))"""
    assert page.run(outside) == []


def test_filters_agree_with_the_results(page: Page, folder: Path, address: str) -> None:
    first = json.loads((folder / "results.json").read_text())["comparisons"][0]
    page.open(address)
    buttons = texts(page, "#show button")
    assert buttons[0] == "All 200"
    assert buttons[1:3] == [f"Gained {first['gained']}", f"Lost {first['lost']}"]
    assert sum(int(text.split()[-1]) for text in buttons[1:]) == 200
    click(page, "[data-show=gained]")
    assert texts(page, "#status") == [f"1–25 of {first['gained']}"]
    assert set(texts(page, f"{ROWS} td[data-label=tuned] b")) == {"✓"}
    assert set(texts(page, f"{ROWS} td[data-label=base] b")) == {"✗"}
    click(page, "#next")
    assert texts(page, "#status")[0].startswith("26–50 of")
    assert texts(page, f"{ROWS} td.number")[0] == "26"


def test_set_calculator_and_error_can_be_chosen(page: Page, folder: Path, address: str) -> None:
    page.open(address + "#show=all&set=1&calculator=off&error=tuned%3Areasoning")
    name = "tuned--held-out-templates--calculator-off.jsonl"
    lines = (folder / "predictions" / name).read_text().splitlines()
    expected = [row for line in lines if (row := json.loads(line))["error"] == "reasoning"]
    assert texts(page, "#status")[0].endswith(f"of {len(expected)}")
    assert texts(page, f"{ROWS} .short") == [row["question"] for row in expected][:25]
    assert page.run("document.getElementById('set').selectedOptions[0].textContent") == (
        "held-out templates"
    )
    page.open(address + "#show=nonsense&set=99")
    assert texts(page, "#status") == ["1–25 of 200"]


def test_search_finds_questions_and_answers(page: Page, folder: Path, address: str) -> None:
    row = json.loads((folder / "predictions" / "tuned.jsonl").read_text().splitlines()[100])
    page.open(address)
    page.run(f"document.getElementById('search').value = {json.dumps(row['question'])}")
    page.run(
        """document.getElementById('search').dispatchEvent(new Event('input'));
        new Promise((done) => setTimeout(done, 300))"""
    )
    assert texts(page, f"{ROWS} .short") == [row["question"]]
    assert "q=" in page.run("location.hash")


def test_the_theme_follows_the_system_and_then_the_button(page: Page, address: str) -> None:
    def ground() -> str:
        return str(page.run("getComputedStyle(document.body).backgroundColor"))

    dark, light = "rgb(20, 23, 26)", "rgb(247, 247, 245)"
    try:
        for theme, expected, other in (("dark", dark, light), ("light", light, dark)):
            features = [{"name": "prefers-color-scheme", "value": theme}]
            page.call("Emulation.setEmulatedMedia", features=features)
            page.open(address)
            assert ground() == expected
            click(page, "#theme")
            assert ground() == other
    finally:
        page.call("Emulation.setEmulatedMedia", features=[])


def test_the_whole_test_set_of_gsm8k_stays_quick(page: Page, tmp_path: Path) -> None:
    report.write(build(tmp_path, rows=1319))
    page.call("Performance.enable", timeDomain="threadTicks")  # processor time

    def spent() -> float:
        """Seconds that the page has computed since it was opened."""
        metrics = page.call("Performance.getMetrics")["metrics"]
        return next(each["value"] for each in metrics if each["name"] == "TaskDuration")

    page.open((tmp_path / "report.html").as_uri())
    assert texts(page, "#status") == ["1–25 of 1,319"]
    opened = spent()
    assert opened < 5
    click(page, "[data-show=wrong]")
    assert spent() - opened < 0.5  # to filter and draw
    assert page.run(f"document.querySelectorAll('{ROWS}').length") == 25  # only a page is drawn


def test_one_model_alone_has_a_table_too(page: Page, tmp_path: Path) -> None:
    report.write(build(tmp_path, parts=("recipe", "manifest", "base"), rows=30))
    page.open((tmp_path / "report.html").as_uri())
    assert page.errors == []
    assert [text.split()[0] for text in texts(page, "#show button")] == ["All", "Right", "Wrong"]
    assert page.run("document.querySelectorAll('#columns th').length") == 4


def test_paper_shows_what_is_folded_on_a_screen(page: Page, address: str) -> None:
    page.open(address)
    count = "document.querySelectorAll('details:not([open])').length"
    folded = page.run(count)
    assert folded > 0
    page.run("dispatchEvent(new Event('beforeprint'))")
    assert page.run(count) == 0
    page.run("dispatchEvent(new Event('afterprint'))")
    assert page.run(count) == folded
