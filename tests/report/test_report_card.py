from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from report_run_folder import HOSTILE, build

from mathtune import report
from mathtune.report.model_card import escape, fenced


def card_of(folder: Path, **kwargs: object) -> tuple[dict, str]:
    """Return the front matter and the body of the card of a built folder."""
    build(folder, rows=20, **kwargs)  # type: ignore[arg-type]
    report.write(folder)
    _, front, body = (folder / "README.md").read_text("utf-8").split("---\n", 2)
    return yaml.safe_load(front), body


def rendered(markdown: str) -> str:
    """Render with tables and raw HTML let through, so that what is not escaped shows."""
    markdown_it = pytest.importorskip("markdown_it")
    parser = markdown_it.MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return parser.render(markdown)


def test_front_matter_of_an_adapter_on_a_hub_model(tmp_path):
    front, _ = card_of(tmp_path, model="google/gemma-2b")
    assert front["base_model"] == "google/gemma-2b"
    assert front["base_model_relation"] == "adapter"
    assert front["library_name"] == "peft"
    assert front["datasets"] == ["openai/gsm8k"]  # generated problems have no id on the hub
    assert "lora" in front["tags"] and front["metrics"] == ["exact_match"]
    assert "license" not in front


def test_front_matter_of_full_fine_tuning(tmp_path):
    front, body = card_of(tmp_path, model="meta-llama/Llama-2-7b-hf", adapter={})
    assert front["base_model_relation"] == "finetune"
    assert front["library_name"] == "transformers"
    assert "lora" not in front["tags"]
    assert "full fine-tuning" in body


def test_a_model_that_is_not_on_the_hub_is_not_named_as_its_base(tmp_path, monkeypatch):
    assert "base_model" not in card_of(tmp_path / "a", model="tiny-base")[0]
    assert "base_model" not in card_of(tmp_path / "b", model="/data/models/mine")[0]
    (tmp_path / "runs" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert "base_model" not in card_of(tmp_path / "c", model="runs/model")[0]


def test_the_model_index_is_one_that_the_hub_reads(tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    card_of(tmp_path, model="google/gemma-2b")
    card = hub.ModelCard.load(tmp_path / "README.md", ignore_metadata_errors=False)
    results = json.loads((tmp_path / "results.json").read_text())
    tuned = [e for e in results["evaluations"] if e["model"] == "tuned"]
    found = card.data.eval_results
    assert len(found) == len(tuned) == 6  # three sets, calculator on and off
    assert {r.metric_type for r in found} == {"exact_match"}
    first = next(r for r in found if r.dataset_name == "new types" and "on" in r.metric_name)
    assert first.metric_value == round(tuned[0]["exact_match"]["value"], 4)


def test_the_card_has_the_same_facts_as_the_page(tmp_path):
    _, body = card_of(tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    page = rendered(body).replace("&quot;", '"')
    assert results["comparisons"][0]["verdict"] in page
    for fact in (
        "LoRA, r=32, alpha=64, on all-linear",
        "duplicate question: 112",
        "mathtune run demo train.max_steps=300",
        "lm-eval gsm8k_cot, strict",
        "0f3c5a9e12b4d678",
    ):
        assert fact in page, fact


def test_what_a_model_wrote_is_inert_in_markdown(tmp_path):
    _, body = card_of(tmp_path)
    tags: list[str] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append(tag)

    Tags().feed(rendered(body))
    assert set(tags) <= {
        *("h1", "h2", "p", "ul", "li", "strong", "pre", "code"),
        *("table", "thead", "tbody", "tr", "th", "td"),
    }
    rows = [line for line in body.splitlines() if line.startswith("|")]
    assert rows


@pytest.mark.parametrize(
    "text",
    [
        *HOSTILE[:2],
        *HOSTILE[3:6],
        "1. not a list",
        "- not a list",
        "# no heading",
        "max_steps=300 and _not emphasis_ nor *this* nor `code` | cell \\ end",
        "--- no rule",
        "~~kept~~ $x$ @someone <https://leak.invalid> www.leak.invalid",
    ],
)
def test_escaped_text_reads_as_it_was_written(text):
    class Text(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.text, self.tags = "", []

        def handle_starttag(self, tag, attrs):
            self.tags.append(tag)

        def handle_data(self, data):
            self.text += data

    parsed = Text()
    parsed.feed(rendered(escape(text)))
    assert parsed.tags == ["p"]
    assert parsed.text.strip() == text


def test_text_on_several_lines_stays_in_its_cell():
    assert escape("a\nb | c") == r"a b \| c"


def test_a_fence_is_longer_than_any_inside():
    assert fenced("a\n````\nb")[0] == "`````text"
    assert rendered("\n".join(fenced("```\n<b>"))).count("<pre>") == 1


def test_a_card_without_an_evaluation_says_so(tmp_path):
    front, body = card_of(tmp_path, parts=("recipe", "manifest", "metrics"))
    assert "model-index" not in front
    assert "has been trained but not evaluated" in body
    assert "There is no results.json" in body


def test_a_card_of_an_evaluation_alone_claims_no_training(tmp_path):
    front, body = card_of(tmp_path, parts=("recipe", "manifest", "base"), model="google/gemma-2b")
    assert not {"base_model", "datasets"} & set(front)
    assert "mathtune chat" not in body
