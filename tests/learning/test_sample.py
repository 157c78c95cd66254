"""``mathtune sample`` with the toy base: rows, log-probabilities, kills, test splits."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from command_for_tests import start, wait_for
from log_for_tests import logged
from mathtune.cli.main import cli
from mathtune.errors import DataError
from mathtune.evaluation.statistics import wilson
from mathtune.models.files import resolve
from mathtune.prompts.render import Renderer

PROBLEMS = "{generated: problems, types: [equal_groups], n: 6, seed: 5}"
DRAW = ["-n", "3", "--temperature", "1", "--max-new-tokens", "80", "model.dtype=float32"]


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(cli, list(map(str, arguments)))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def sampled(run: Path, *more: object) -> Result:
    data = f"data.test=[{{label: groups, sources: [{PROBLEMS}]}}]"
    return call("sample", "tiny-base", data, *DRAW, *more, "--run-dir", run)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("sample") / "run"
    return folder, sampled(folder, "--logprobs").output


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "predictions" / "base.jsonl").open()]


def test_log_probabilities_are_those_of_a_plain_forward_pass(run: tuple[Path, str]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = resolve("tiny-base")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    renderer = Renderer(AutoTokenizer.from_pretrained(folder), "qa")
    rows = rows_of(run[0])
    assert len(rows) == 18
    for row in rows:
        prompt = renderer.prompt(row["question"]).ids
        ids = torch.tensor([[*prompt, *row["ids"]]])
        with torch.no_grad():
            logprobs = model(ids).logits.log_softmax(-1)[0, len(prompt) - 1 : -1]
        expected = logprobs.gather(-1, ids[0, len(prompt) :, None])[:, 0]
        assert row["tokens"] == len(row["ids"]) == len(row["logprobs"])
        torch.testing.assert_close(torch.tensor(row["logprobs"]), expected, atol=1e-4, rtol=0)


def test_pass_rates_and_the_map_are_written_and_shown(run: tuple[Path, str]) -> None:
    folder, said = run
    rows = rows_of(folder)
    rates = json.loads((folder / "predictions" / "base.jsonl.pass_rates.json").read_text())
    right = {row["problem_id"]: 0 for row in rows}
    for row in rows:
        right[row["problem_id"]] += row["correct"]
    assert [each["problem_id"] for each in rates["problems"]] == list(right)
    for each in rates["problems"]:
        interval = wilson(right[each["problem_id"]], 3)
        assert (each["correct"], each["n"]) == (right[each["problem_id"]], 3)
        assert (each["low"], each["high"]) == (interval.low, interval.high)
    figures = json.loads((folder / "results.json").read_text())["evaluations"]
    assert len(figures) == 1  # one calculator setting
    counts = list(right.values())
    assert figures[0]["solved"] == {
        "never": counts.count(0), "sometimes": counts.count(1) + counts.count(2),
        "always": counts.count(3),
    }  # fmt: skip
    assert "sometimes solved" in said and "maj@3" in said and "pass@2" in said
    assert f"samples: {folder}/predictions/base.jsonl" in said.replace("\n", "")
    assert "Problems by pass rate" in (folder / "report.html").read_text()


def test_the_same_command_draws_nothing_again_and_other_settings_are_refused(
    run: tuple[Path, str],
) -> None:
    from mathtune.errors import RunError

    before = (run[0] / "predictions" / "base.jsonl").read_bytes()
    sampled(run[0], "--logprobs")
    assert before == (run[0] / "predictions" / "base.jsonl").read_bytes()
    with pytest.raises(RunError, match=r"eval\.logprobs"):
        sampled(run[0])


def test_killed_in_the_middle_it_continues_to_the_same_file(
    run: tuple[Path, str], tmp_path: Path
) -> None:
    killed = tmp_path / "killed"
    data = f"data.test=[{{label: groups, sources: [{PROBLEMS}]}}]"
    arguments = ["sample", "tiny-base", data, *DRAW, "--logprobs", "eval.batch_size=2"]

    def lines() -> int:
        path = killed / "predictions" / "base.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    process = start(*arguments, "--run-dir", str(killed), cwd=tmp_path)
    wait_for(lambda: lines() >= 4, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert 4 <= lines() < 18
    with pytest.raises(DataError, match="is not finished"):
        call("select", killed, "--out", tmp_path / "out.jsonl")
    process = start(*arguments, "--run-dir", str(killed), cwd=tmp_path)
    said = process.communicate()
    assert process.returncode == 0, said
    for one, other in zip(rows_of(run[0]), rows_of(killed), strict=True):
        gap = [abs(a - b) for a, b in zip(one.pop("logprobs"), other.pop("logprobs"), strict=True)]
        assert max(gap) < 1e-4  # of other rows beside it
        assert one == other


def test_selection_names_the_model_its_licence_and_the_problems(
    run: tuple[Path, str], tmp_path: Path
) -> None:
    import yaml

    out = tmp_path / "selected.jsonl"
    call("select", run[0], "--out", out, "--gold")
    noted = yaml.safe_load(Path(f"{out}.provenance.yaml").read_text())["samples"][0]
    assert (noted["model"], noted["license"], noted["engine"]) == ("tiny-base", "mit", "hf")
    assert noted["sources"] == [
        {"generated": "problems", "types": ["equal_groups"], "n": 6, "seed": 5}
    ]
    assert len(noted["weights"]) == 16


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("{generated: problems, n: 6, part: test}", "part=test"),
        ("{generated: problems, n: 6, templates: held_out}", "templates=held_out"),
        ("{name: gsm8k}", "the test split of gsm8k"),
        ("{name: gsm8k, split: test}", "the test split of gsm8k"),
        ("{name: some/set, split: test_socratic}", "the test_socratic split of some/set"),
        ("{path: data/test.jsonl}", "by its name a test split"),
    ],
)
def test_samples_of_a_test_split_are_refused(
    run: tuple[Path, str], tmp_path: Path, source: str, why: str
) -> None:
    folder = shutil.copytree(run[0], tmp_path / "run")
    recipe = folder / "recipe.yaml"
    head, _, rest = recipe.read_text().partition("  test:\n")
    _, _, rest = rest.partition("  max_train_samples")
    recipe.write_text(
        f"{head}  test:\n  - {{label: groups, sources: [{source}]}}\n  max_train_samples{rest}"
    )
    with pytest.raises(DataError, match=f"{why}.*sample training problems"):
        call("select", folder, "--out", tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
    call("select", folder, "--out", tmp_path / "out.jsonl", "--gold", "--allow-test")
    assert "of_test_problems: true" in (tmp_path / "out.jsonl.provenance.yaml").read_text()


def test_that_samples_will_be_refused_is_said_before_sampling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_sampled(*_: Any, **__: Any) -> None:
        raise DataError("not sampled")

    monkeypatch.setattr("mathtune.pipeline.evaluate", none_sampled)
    source = "{generated: problems, templates: held_out, n: 2}"
    for sources, warned in ((source, True), (PROBLEMS, False)):
        data = f"data.test=[{{label: groups, sources: [{sources}]}}]"
        with logged() as said, pytest.raises(DataError, match="not sampled"):
            call("sample", "tiny-base", data, "--run-dir", tmp_path / "run")
        assert ("templates=held_out: mathtune select refuses" in said.getvalue()) == warned


@pytest.mark.parametrize(
    ("data", "label", "sources"),
    [
        ("gsm8k", "gsm8k:train", {"name": "gsm8k", "split": "train"}),
        ("gsm8k:test", "gsm8k:test", {"name": "gsm8k", "split": "test"}),
        ("mine.jsonl", "mine.jsonl", {"path": "mine.jsonl"}),
    ],
)
def test_named_sets_are_sampled_on_their_train_split(
    data: str, label: str, sources: dict[str, str]
) -> None:
    from mathtune.learning.sources import sets_to_sample

    assert sets_to_sample([data]) == [{"label": label, "sources": [sources]}]


def test_a_server_gives_no_log_probabilities() -> None:
    from mathtune import config
    from mathtune.errors import ConfigError

    asked = ["eval.engine=openai", "eval.base_url=http://localhost:1/v1", "eval.logprobs=true"]
    with pytest.raises(ConfigError, match=r"eval\.logprobs=true with eval\.engine=openai"):
        config.load("sample", asked)
