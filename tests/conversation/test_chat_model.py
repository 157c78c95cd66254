"""A conversation: what a model is prompted with, turn by turn, and what it remembers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from mathtune import config, runs
from mathtune.conversation import ChatModel, check, find, side_by_side
from mathtune.errors import ConfigError, ModelError, RunError
from mathtune.generation.engine import Decoding, StreamedCompletion
from mathtune.generation.hf import HFEngine
from mathtune.records import Completion, Outcome, Prompt, StopReason
from mathtune.run_paths import RunPaths
from models_for_tests import saved_model

KNOBS = ["eval.max_new_tokens=6"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a chat template."""
    return saved_model(tmp_path_factory.mktemp("model"), "llama")[0]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Prompt, Decoding]]:
    """Every prompt that an engine has streamed, with how."""
    found: list[tuple[Prompt, Decoding]] = []
    real = HFEngine.stream

    def stream(self: HFEngine, prompt: Prompt, decoding: Decoding) -> Iterator[StreamedCompletion]:
        found.append((prompt, decoding))
        return real(self, prompt, decoding)

    monkeypatch.setattr(HFEngine, "stream", stream)
    return found


def chat(folder: Path, *knobs: str) -> ChatModel:
    (named,) = find(str(folder), None, [*KNOBS, *knobs])
    return ChatModel(named.label, named.recipe)


def test_style_chat_shows_the_turns_before_and_other_styles_do_not(
    folder: Path, asked: list[tuple[Prompt, Decoding]]
) -> None:
    model = chat(folder, "prompt.style=chat", "prompt.system='Be brief.'")
    assert model.remembers and model.style == "chat"
    first, second = model.answer("What is 2 + 2?"), model.answer("And 3 more?")
    said = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is 2 + 2?"},
        {"role": "assistant", "content": first.text.strip()},
        {"role": "user", "content": "And 3 more?"},
    ]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    whole = tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
    assert asked[1][0].text == whole
    assert asked[1][0].ids == tuple(tokenizer(whole, add_special_tokens=False)["input_ids"])
    assert model.history[1] == ("And 3 more?", second.text.strip())
    model.reset()
    model.answer("What is 2 + 2?")
    assert asked[2][0] == asked[0][0]

    model.use_style("qa")
    assert not model.remembers and model.history == []
    model.answer("What is 2 + 2?")
    model.answer("And 3 more?")
    assert asked[4][0].text == "Question: And 3 more?\nAnswer:" and model.history == []
    with pytest.raises(ConfigError, match="prompt style 'qaa' does not exist; did you mean 'qa'"):
        model.use_style("qaa")
    assert model.style == "qa"


def test_what_was_written_before_a_stop_belongs_to_the_conversation(folder: Path) -> None:
    model = chat(folder, "prompt.style=chat")
    stream = model.stream("What is 2 + 2?")
    part = next(item for item in stream if item.text.strip())
    stream.close()
    assert model.history == [("What is 2 + 2?", part.text.strip())]


def test_the_oldest_turns_go_when_the_context_is_full(
    tmp_path: Path, asked: list[tuple[Prompt, Decoding]]
) -> None:
    folder, _ = saved_model(tmp_path / "m", "llama", max_position_embeddings=96)
    model = chat(folder, "prompt.style=chat")
    for number in range(8):
        model.answer(f"What is {number} + 2?")
    assert model.forgotten > 0 and model.forgotten + len(model.history) == 8
    assert all(len(prompt.ids) + 6 <= 96 for prompt, _ in asked)
    assert "What is 7 + 2?" in asked[-1][0].text and "What is 0 + 2?" not in asked[-1][0].text
    with pytest.raises(ModelError, match="leaves no room for an answer"):
        model.answer("How many? " * 40)


def test_temperature_draws_anew_for_every_answer_and_again_after_a_new_start(
    folder: Path, asked: list[tuple[Prompt, Decoding]]
) -> None:
    texts = []
    for _ in range(2):
        model = chat(folder)
        model.temperature = 2.0
        texts.append([model.answer("What is 2 + 2?").text for _ in range(3)])
    assert texts[0] == texts[1] and len(set(texts[0])) > 1
    greedy = chat(folder)
    assert greedy.answer("What is 2 + 2?") and asked[-1][1].temperature == 0
    assert not asked[-1][1].calculator
    greedy.calculator = True
    assert greedy.answer("What is 2 + 2?") and asked[-1][1].calculator


def test_models_side_by_side_answer_as_alone(folder: Path, tmp_path: Path) -> None:
    other, _ = saved_model(tmp_path / "other", "llama", hidden_size=64)
    models = [chat(folder), chat(other)]
    alone = [model.answer("What is 2 + 2?").ids for model in models]
    states = list(side_by_side(models, "What is 2 + 2?"))
    assert states[0][1] is None and states[1][1] is not None  # a token of each in turn
    both = [item and item.completion and item.completion.ids for item in states[-1]]
    assert both == alone and alone[0] != alone[1]


def trained(folder: Path, model: Path, run: Path, *knobs: str) -> RunPaths:
    """Make a run folder whose training has left a model."""
    recipe = config.load("demo", [f"model={folder}", "eval.calculator=true", *knobs])
    runs.create(run, recipe, command=["mathtune"]).close()
    model.rename(RunPaths(run).model)
    return RunPaths(run)


def test_a_run_folder_is_asked_as_it_was_trained_next_to_its_base(
    folder: Path, tmp_path: Path
) -> None:
    tuned, _ = saved_model(tmp_path / "tuned", "llama")
    run = trained(folder, tuned, tmp_path / "run", "prompt.style=orca", "eval.max_new_tokens=77")
    for name in (run.folder, run.model):
        after, base = find(str(name), "base")
        assert [after.label, base.label] == ["tuned", "base"]
        assert after.recipe.model.name_or_path == str(run.model)
        assert base.recipe.model.name_or_path == str(folder)
        for each in (after.recipe, base.recipe):
            assert each.prompt.style == "orca" and each.eval.max_new_tokens == 77
            assert each.eval.calculator
    (alone,) = find(str(run.folder), None, ["prompt.style=qa"])
    assert alone.label == "run" and alone.recipe.prompt.style == "qa"
    one, other = find(str(run.folder), str(folder))
    assert one.label == str(run.folder) and other.recipe.prompt.style == "orca"
    (run.checkpoints / "checkpoint-1").mkdir()
    run.model.rename(tmp_path / "gone")
    with pytest.raises(RunError, match="has no model/ yet; finish its training first"):
        find(str(run.folder), None)


def test_a_base_that_is_not_known_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is neither a run folder nor an adapter, so its base"):
        find(str(folder), "base")
    run = tmp_path / "measured"
    runs.create(run, config.load("gsm8k-eval", [f"model={folder}"]), command=["m"]).close()
    (named,) = find(str(run), None)
    assert named.recipe.model.name_or_path == str(folder)
    with pytest.raises(ConfigError, match=r"only measured .* nothing was trained"):
        find(str(run), "base")


def completion(text: str, reason: StopReason = StopReason.EOS) -> Completion:
    return Completion("chat", 0, text, (1, 2), reason)


def test_an_answer_is_graded_and_its_false_equations_are_found() -> None:
    text = "She has 48/2 = <<48/2=24>>24 pens.\nThen 24+3 = 28 in all.\n#### 28"
    checked = check(completion(text), "27")
    assert checked.answer == "28" and len(checked.equations) == 2
    ((false, exact),) = checked.false
    assert (checked.text_of(false), exact) == ("24+3 = 28", "27")
    assert checked.grade is not None and checked.grade.outcome is Outcome.WRONG
    right = check(completion("#### 0"))
    assert right.answer == "0" and right.grade is None and not right.equations
    cut = check(completion("First 3", StopReason.LENGTH), "3")
    assert cut.answer is None and cut.grade and cut.grade.outcome is Outcome.TRUNCATED
