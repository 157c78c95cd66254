from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_run_folder import HOSTILE, build

from mathtune import report
from mathtune.errors import DiskError
from mathtune.report import html
from mathtune.report.training_facts import training_facts
from mathtune.text.visible import visible
from timing_for_tests import least_seconds

NBSP = "\u00a0"


class Parsed(HTMLParser):
    """Elements, attributes and text of a page, as a browser's parser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.scripts: list[str] = []
        self.texts: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        (self.scripts if self._inside == "script" else self.texts).append(data)

    @property
    def text(self) -> str:
        """The visible text, white space collapsed."""
        return " ".join(" ".join(self.texts).split())


def page_of(folder: Path, **kwargs: object) -> tuple[str, Parsed]:
    build(folder, **kwargs)  # type: ignore[arg-type]
    text = report.build_html(report.read(folder))
    return text, Parsed(text)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Parsed]:
    return page_of(tmp_path_factory.mktemp("page"))


def test_the_page_says_what_was_found(page, tmp_path):
    _, parsed = page
    results = json.loads((build(tmp_path) / "results.json").read_text())
    first = results["comparisons"][0]
    tuned = next(e for e in results["evaluations"] if e["model"] == "tuned")["exact_match"]
    text = parsed.text
    for expected in (
        first["verdict"],
        f"{100 * tuned['value']:.1f} %",
        f"{100 * tuned['low']:.1f}–{100 * tuned['high']:.1f} %",
        f"+{100 * first['difference']:.1f} points",
        f"{100 * first['difference_low']:.1f} to +{100 * first['difference_high']:.1f}",
        "p < 0.0001",
        f"Gained {first['gained']}",
        f"Lost {first['lost']}",
        "LoRA, r=32, alpha=64, on all-linear",
        "212,992, 6.26 % of 3,400,000",  # 212992 / 3400000 = 0.06264
        "duplicate question: 112; gold answer not found in its solution: 8",
        "longer than max_length: 3",
        "generated problems (types=shares/profit, templates=train, n=4000); gsm8k (split=train)",
        "step 250, chosen by validation loss: 0.4738",
        "lm-eval gsm8k, flexible",
        "held-out templates",
        "Calculator on",
        "Calculator off",
        "two_rates",
        "5 steps",
        "arithmetic slip",
        "9.41",  # perplexity of the base model
        "What is 125 * 45 + 678? Show your work.",
        "mathtune run demo train.max_steps=300",
        "transformers 5.3.0",
        "0f3c5a9e12b4d678",
    ):
        assert expected in text, expected
    assert "What is missing" not in text


def test_packed_and_true_shares_of_parameters_are_both_named(tmp_path):
    build(tmp_path)
    path = tmp_path / "manifest.json"
    manifest = json.loads(path.read_text())
    # Gemma-2B: 9,805,824 / 2,515,978,240 = 0.3897 %; 9,805,824 / 1,525,268,480 = 0.6429 %.
    manifest["parameters"] = {
        "total": 2_515_978_240,
        "trainable": 9_805_824,
        "total_packed": 1_525_268_480,
    }
    path.write_text(json.dumps(manifest))
    found = {fact.term: fact.text for fact in training_facts(report.read(tmp_path))}
    assert found["Trainable parameters"].replace(NBSP, " ") == (
        "9,805,824, 0.39 % of 2,515,978,240 (true count); 0.64 % of the 1,525,268,480 that a "
        "4-bit-packed count shows"
    )


def test_what_a_model_wrote_is_inert(page):
    text, parsed = page
    assert parsed.tags.count("script") == 2  # the rows and the page's own code
    assert not {"img", "iframe", "object", "embed", "base", "form"} & set(parsed.tags)
    assert not [name for _, name, _ in parsed.attributes if name.startswith("on")]
    assert not [name for _, name, _ in parsed.attributes if name == "style"]
    for tag, name, value in parsed.attributes:
        if name in ("src", "href", "action", "data", "poster", "srcset", "xlink:href"):
            assert value.startswith("#") or value == "data:,", (tag, name, value)
    assert HOSTILE[0] in parsed.text  # shown as text in the example
    assert HOSTILE[1] in parsed.text
    assert "{{ 7 * 7 }}" in text  # no template is run over the data


def test_rows_survive_the_escaping(page, tmp_path):
    _, parsed = page
    block = parsed.scripts[0]
    assert not set("<>&") & set(block)
    data = json.loads(block)
    assert data["sets"] == ["new types", "held-out templates", "old types <b>bold</b>"]
    assert len(data["rows"]) == 640 and len(data["problems"]) == 320
    first = data["rows"][0]
    assert (data["sets"][first["set"]], first["calculator"]) == ("new types", True)
    for row, text in zip(data["rows"], HOSTILE, strict=False):
        for model in ("base", "tuned"):
            assert row[model]["completion"].startswith(visible(text) + "\n")
    rows = [
        json.loads(line)
        for line in (build(tmp_path) / "predictions" / "tuned.jsonl").read_text().splitlines()
    ]
    assert [r["tuned"]["correct"] for r in data["rows"][:200]] == [r["correct"] for r in rows]
    assert data["problems"][first["problem"]][0] == rows[0]["question"]


def test_the_policy_lets_only_the_pages_own_code_run(page):
    _, parsed = page
    policy = next(v for tag, name, v in parsed.attributes if tag == "meta" and "default-src" in v)
    digest = base64.b64encode(hashlib.sha256(parsed.scripts[1].encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        (("recipe", "manifest", "metrics"), "has been trained but not evaluated"),
        (("recipe", "manifest", "base"), "the base model answers"),
        (("recipe", "manifest", "metrics", "tuned"), "the tuned model answers"),
        (("metrics",), "has been trained but not evaluated"),
        (("base", "tuned"), "Tuning raised exact match"),
        (("recipe",), "was not evaluated"),
    ],
)
def test_a_folder_with_parts_missing_still_makes_a_page(tmp_path, parts, verdict):
    text, parsed = page_of(tmp_path, parts=parts, rows=12)
    assert verdict in parsed.text
    assert "What is missing" in parsed.text
    assert parsed.tags.count("section") == 11  # ten chapters and what is missing
    assert ('id="rows"' in text) == bool({"base", "tuned"} & set(parts))


def test_an_evaluation_alone_claims_no_training(tmp_path):
    _, parsed = page_of(tmp_path, parts=("recipe", "manifest", "base"), rows=12)
    assert "Nothing was trained in this run" in parsed.text
    assert "LoRA, r=32" not in parsed.text


def test_nothing_of_the_environment_gets_in(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_environmentsecret0123456789")
    monkeypatch.setenv("WANDB_API_KEY", "wandbsecret0123456789")
    build(tmp_path)
    path = tmp_path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["environment"] = {"WANDB_API_KEY": "wandbsecret0123456789"}
    manifest["command"] += " --token hf_environmentsecret0123456789"
    path.write_text(json.dumps(manifest))
    report.write(tmp_path)
    for name in ("report.html", "README.md"):
        text = (tmp_path / name).read_text("utf-8")
        assert "secret0123456789" not in text
        assert "***" in text.replace("\\", "")


def test_several_samples_a_problem(tmp_path):
    build(tmp_path, rows=10, hostile=False)
    for path in (tmp_path / "predictions").glob("*.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        twice = [{**row, "sample": k} for row in rows for k in (0, 1)]
        path.write_text("".join(json.dumps(row) + "\n" for row in twice))
    results = json.loads((tmp_path / "results.json").read_text())
    for evaluation in results["evaluations"]:
        evaluation["samples"] = 2
        evaluation["outcomes"] = {name: 2 * n for name, n in evaluation["outcomes"].items()}
        evaluation["majority"] = evaluation["exact_match"]
        evaluation["pass_at"] = {"1": 0.25, "2": 0.375}
        evaluation["solved"] = {"never": 1, "sometimes": 2, "always": 7}
    (tmp_path / "results.json").write_text(json.dumps(results))
    run = report.read(tmp_path)
    parsed = Parsed(report.build_html(run))
    assert "Each problem was answered 2 times" in parsed.text
    assert "always solved" in parsed.text and f"70.0{NBSP}%" in parsed.text.replace(" ", NBSP)
    assert "pass@2" in parsed.text and f"37.5{NBSP}%" in parsed.text.replace(" ", NBSP)
    assert "of 20" in parsed.text  # outcomes count answers, 2 * 10
    assert {row["sample"] for row in json.loads(parsed.scripts[0])["rows"]} == {0, 1}


def test_rows_over_the_limit_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("mathtune.report.answers.MOST_ROWS", 600)
    _, parsed = page_of(tmp_path)
    assert len(json.loads(parsed.scripts[0])["rows"]) == 600
    assert "40 more rows are in predictions/" in parsed.text  # 640 - 600


def test_the_whole_test_set_of_gsm8k_is_written_in_seconds(tmp_path):
    build(tmp_path, rows=1319)
    assert least_seconds(partial(report.write, tmp_path), enough=2) < 5
    assert (tmp_path / "report.html").stat().st_size < 6_000_000


def test_files_are_utf8_also_with_half_a_surrogate_pair(tmp_path):
    report.write(build(tmp_path))
    text = (tmp_path / "report.html").read_text("utf-8", errors="strict")
    assert "half a surrogate pair: \\\\ud83d" in text
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]


def test_a_page_that_cannot_be_written_is_a_disk_error(tmp_path):
    build(tmp_path)
    (tmp_path / "report.html").mkdir()
    with pytest.raises(DiskError, match=r"report\.html could not be written"):
        report.write(tmp_path)


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.2 for ``#rrggbb``."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_colours_have_the_contrast_that_wcag_aa_asks_for(theme):
    style = (html.TEMPLATES / "report.css").read_text()
    pairs = re.findall(r"--(\w+): light-dark\((#\w{6}), (#\w{6})\)", style)
    colours = {name: (light, dark)[theme] for name, light, dark in pairs}

    def contrast(one: str, other: str) -> float:
        dim, bright = sorted(luminance(colours[name]) for name in (one, other))
        return (bright + 0.05) / (dim + 0.05)

    for text in ("ink", "muted", "link"):
        for ground in ("page", "surface", "notice"):
            assert contrast(text, ground) >= 4.5, (text, ground)
    for mark in ("base", "tuned", "training", "validation"):
        for ground in ("page", "surface", "track"):
            assert contrast(mark, ground) >= 3.0, (mark, ground)


def test_the_report_needs_no_heavy_import():
    code = (
        "import sys, mathtune.report; "
        "heavy = {'torch', 'transformers', 'datasets', 'jinja2', 'yaml', 'scipy', 'pydantic'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_rows_that_are_not_read_are_counted_too(tmp_path, monkeypatch):
    whole = json.loads(page_of(tmp_path)[1].scripts[0])["rows"]
    monkeypatch.setattr("mathtune.report.MOST_ROWS", 7)
    report.write(tmp_path)
    parsed = Parsed((tmp_path / "report.html").read_text("utf-8"))
    shown = json.loads(parsed.scripts[0])["rows"]
    assert shown[:7] == whole[:7] and {"base", "tuned"} <= set(shown[0])
    assert f"{len(whole) - len(shown)} more rows are in predictions/" in parsed.text
