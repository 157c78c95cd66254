"""A model is prompted with a prefix of what it was trained on; one BOS; EOS supervised."""

from __future__ import annotations

import json

import pytest
from transformers import PreTrainedTokenizerFast

import tokenizers_for_tests
from mathtune.errors import ModelError
from mathtune.prompts import STYLES, Renderer, TextRenderer
from mathtune.records import Problem, content_id

TOKENIZERS = {
    "bpe": tokenizers_for_tests.bpe,
    "sentencepiece": tokenizers_for_tests.sentencepiece_like,
    "byte": tokenizers_for_tests.byte,
}
ALL_STYLES = [*STYLES, "chat"]


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    return TOKENIZERS[request.param]()


def problem(question: str, answer: str) -> Problem:
    return Problem(content_id(question, answer), question, answer, "0")


PROBLEMS = [
    problem("Tom has 3 apples. How many?", "Tom has 3 apples.\n#### 3"),
    problem("Ends in a space ", "#### 4"),
    problem("Two\nlines?", "12 is first.\n\n#### 12"),
    problem("Prix en € ?", "« 5 € » — voilà.\n#### 5"),
    problem("x", "1"),
]


@pytest.mark.parametrize("style", ALL_STYLES)
@pytest.mark.parametrize("item", PROBLEMS, ids=lambda item: repr(item.question[:12]))
def test_prompted_ids_are_a_prefix_of_trained_ids(tokenizer, style, item):
    renderer = Renderer(tokenizer, style)
    prompt = renderer.prompt(item.question, item.id)
    rendered = renderer.rendered(item)
    example = rendered.example
    assert example.ids[: example.prompt_tokens] == prompt.ids
    assert rendered.text.startswith(prompt.text)
    assert len(example.ids) > len(prompt.ids)


@pytest.mark.parametrize("style", ALL_STYLES)
def test_one_bos_and_supervised_eos(tokenizer, style):
    example = Renderer(tokenizer, style).example(PROBLEMS[0])
    assert example.ids[0] == tokenizer.bos_token_id
    assert example.ids.count(tokenizer.bos_token_id) == 1
    assert example.ids[-1] == tokenizer.eos_token_id
    assert example.supervised[-1]
    assert example.supervised == tuple(
        index >= example.prompt_tokens for index in range(len(example.ids))
    )


def test_eos_is_supervised_where_pad_is_eos(tokenizer):
    tokenizer.pad_token = tokenizer.eos_token
    example = Renderer(tokenizer, "qa").example(PROBLEMS[0])
    assert example.ids[-1] == tokenizer.eos_token_id
    assert example.supervised[-1]


@pytest.mark.parametrize("style", ALL_STYLES)
@pytest.mark.parametrize("item", PROBLEMS, ids=lambda item: repr(item.question[:12]))
def test_supervised_text_is_the_solution(tokenizer, style, item):
    example = Renderer(tokenizer, style).example(item)
    learned = [token for token, on in zip(example.ids, example.supervised, strict=True) if on]
    text = tokenizer.decode(learned, skip_special_tokens=True)
    assert text.strip() == item.answer.strip()


def test_offsets_point_into_the_text(tokenizer):
    rendered = Renderer(tokenizer, "qa").rendered(PROBLEMS[0])
    covered = [rendered.text[low:high] for low, high in rendered.offsets]
    assert "".join(covered[1:-1]) == rendered.text  # BOS and EOS stand for no text
    assert rendered.offsets[0] == (0, 0)
    assert rendered.offsets[-1] == (len(rendered.text),) * 2


def test_examples_share_the_objects_of_their_ids(tokenizer):
    """8 bytes a token instead of 36."""
    renderer = Renderer(tokenizer, "qa")
    first, second = renderer.example(PROBLEMS[0]), renderer.example(PROBLEMS[0])
    large = [index for index, token in enumerate(first.ids) if token > 256]
    assert large or len(tokenizer) < 512
    assert all(first.ids[index] is second.ids[index] for index in large)


def test_whole_text_is_supervised_where_asked(tokenizer):
    example = Renderer(tokenizer, "qa", completion_only=False).example(PROBLEMS[0])
    assert not example.supervised[0]
    assert all(example.supervised[1:])


def test_question_without_solution_teaches_no_eos(tokenizer):
    renderer = Renderer(tokenizer, "qa")
    rendered = renderer.rendered(problem("How many apples?", ""))
    assert tokenizer.eos_token_id not in rendered.example.ids
    assert "Answer" not in rendered.text
    assert all(rendered.example.supervised[1:])


def test_qa_is_the_harness_prompt_to_the_letter(tokenizer):
    """lm-evaluation-harness' gsm8k: ``Question: {q}\\nAnswer:``, shots parted by ``\\n\\n``."""
    shot = problem("One?", "Is 1.\n#### 1")
    prompt = Renderer(tokenizer, "qa", shots=[shot]).prompt("Two?")
    assert prompt.text == "Question: One?\nAnswer: Is 1.\n#### 1\n\nQuestion: Two?\nAnswer:"


def test_chat_template_without_bos_still_gets_one(tokenizer):
    tokenizer.chat_template = tokenizers_for_tests.CHAT_TEMPLATE.replace("{{ bos_token }}", "")
    try:
        example = Renderer(tokenizer, "chat").example(PROBLEMS[0])
        assert example.ids.count(tokenizer.bos_token_id) == 1
        assert example.ids[0] == tokenizer.bos_token_id
    finally:
        tokenizer.chat_template = tokenizers_for_tests.CHAT_TEMPLATE


def test_tokenizer_that_adds_no_bos_gets_none():
    tokenizer = tokenizers_for_tests.byte()
    plain = json.loads(tokenizer.backend_tokenizer.to_str())
    plain["post_processor"] = None
    from tokenizers import Tokenizer

    without = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(plain)), bos_token="<s>", eos_token="</s>"
    )
    example = Renderer(without, "qa").example(PROBLEMS[0])
    assert without.bos_token_id not in example.ids


def test_chat_without_template_is_refused():
    tokenizer = tokenizers_for_tests.byte()
    tokenizer.chat_template = None
    with pytest.raises(ModelError, match=r"no chat template.*prompt\.style=qa"):
        Renderer(tokenizer, "chat")


def test_tokenizer_without_eos_is_refused():
    tokenizer = tokenizers_for_tests.byte()
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="no EOS token"):
        Renderer(tokenizer, "qa")


@pytest.mark.parametrize("style", STYLES)
def test_a_server_is_sent_the_text_whose_ids_a_local_model_is_given(tokenizer, style):
    for shots in ((), PROBLEMS[:2]):
        local = Renderer(tokenizer, style, shots=shots)
        sent = TextRenderer(style, shots=shots)
        assert (sent.style, sent.stop, sent.shots) == (local.style, local.stop, local.shots)
        for item in PROBLEMS:
            prompt = sent.prompt(item.question, item.id)
            assert prompt.text == local.prompt(item.question, item.id).text
            assert (prompt.problem_id, prompt.ids, prompt.messages) == (item.id, (), ())


def test_a_server_is_sent_the_messages_that_the_local_template_renders(tokenizer):
    local = Renderer(tokenizer, "chat", system="Be brief.", shots=PROBLEMS[:1])
    sent = TextRenderer("chat", system="Be brief.", shots=PROBLEMS[:1]).prompt("Two?")
    messages = [{"role": role, "content": said} for role, said in sent.messages]
    assert local.prompt("Two?").text == tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    )
    assert sent.messages[-1] == ("user", "Two?")
