"""A chat template shows every text literally and once, or it is refused and says what it loses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, normalizers
from transformers import PreTrainedTokenizerFast

import tokenizers_for_tests
from mathtune.errors import ModelError
from mathtune.prompts import STYLES, ChatTemplate, Renderer
from mathtune.records import Problem

CASES = Path(__file__).parent / "cases"
TURN = "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
OPENING = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
SHOT = Problem("s", "What is 1+1?", "1+1=2.\n#### 2", "2")
THINKING = Problem(
    "t", "What is 3*4?", "<think>\nIs it 99? No, 3*4.\n</think>\n\nIt is 12.\n#### 12", "12"
)


def each(turn: str = TURN, opening: str = OPENING) -> str:
    return "{% for m in messages %}" + turn + "{% endfor %}" + opening


def by_role(assistant: str) -> str:
    return each(
        "<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' %}" + assistant
        + "{% else %}{{ m['content'] }}{% endif %}<|im_end|>\n"
    )  # fmt: skip


# Qwen3's way: a thought is kept as it is in the last turn, and where there is none an empty one is
# put before the solution.
QWEN3 = by_role(
    "{% set c = m['content'] %}{% if '</think>' in c %}{{ c }}"
    "{% else %}{{ '<think>\n\n</think>\n\n' + c }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}"
    "<start_of_turn>{{ m['role'] }}\n{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
).replace("{{ m['role'] }}", "{{ 'model' if m['role'] == 'assistant' else m['role'] }}")
LLAMA_2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content'] | "
    "trim + ' [/INST]' }}{% else %}{{ ' ' + m['content'] | trim + ' ' + eos_token }}{% endif %}"
    "{% endfor %}"
)
HARMONY = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}{% if m['role'] == 'assistant' %}"
    "<|channel|>final{% endif %}<|message|>{{ m['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant{% endif %}"
)
SOUND = {
    "chatml": each(),
    "generation": by_role("{% generation %}{{ m['content'] }}{% endgeneration %}"),
    "date": "<|im_start|>system\nToday is {{ strftime_now('%d %B %Y') }}.<|im_end|>\n" + each(),
    "bos": "{{ bos_token }}" + each(),
    "alternating, trims": GEMMA,
    "no opening": LLAMA_2,
    "empty thought": QWEN3,
    "channel": HARMONY,
}


def tokenizer(template: str) -> PreTrainedTokenizerFast:
    made = tokenizers_for_tests.bpe()
    made.chat_template = template
    return made


def refusal(template: str, **settings: object) -> str:
    with pytest.raises(ModelError) as caught:
        Renderer(tokenizer(template), "chat", **settings)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith("use prompt.style=qa or repair the template")
    return message


@pytest.mark.parametrize("problem", [SHOT, THINKING], ids=["plain", "thinking"])
@pytest.mark.parametrize("name", SOUND)
def test_sound_templates_supervise_the_solution_once(name: str, problem: Problem) -> None:
    made = tokenizer(SOUND[name])
    renderer = Renderer(made, "chat", shots=[Problem("o", "What is 0+1?", "#### 1", "1")])
    example = renderer.example(problem)
    assert example.ids[: example.prompt_tokens] == renderer.prompt(problem.question).ids
    learned = [i for i, on in zip(example.ids, example.supervised, strict=True) if on]
    text = made.decode(learned, skip_special_tokens=True)
    assert text.count(problem.answer) == 1
    assert example.ids[0] == made.bos_token_id
    # Llama 2's has one more before each later turn, as it was trained.
    assert example.ids.count(made.bos_token_id) == (2 if name == "no opening" else 1)
    assert example.ids[-1] == made.eos_token_id


def test_the_given_template_that_is_broken() -> None:
    message = refusal((CASES / "template-broken.jinja").read_text())
    assert "could not be used: unexpected end of template" in message


def test_the_given_template_that_drops_the_assistant() -> None:
    message = refusal((CASES / "template-drops-assistant.jinja").read_text())
    assert "drops or rewrites part of the solution: 'Kim has 3+4=<<3+4=7>>7 owls." in message
    assert "is lost; what is left is ''" in message


def test_the_given_template_that_strips_a_thought() -> None:
    message = refusal((CASES / "template-strips-thinking.jinja").read_text())
    assert (
        r"'<think>\nIs it 99? No, 3+4.\n</think>\n\n' is lost; what is left is 'Kim has" in message
    )


@pytest.mark.parametrize(
    ("template", "what"),
    [
        (by_role("{{ m['content'] }}{{ m['content'] }}"), "shows the solution more than once: "),
        (by_role("{{ m['content'] | replace('####', 'Answer:') }}"), "'####' is lost"),
        (by_role("{{ m['content'] | upper }}"), "drops or rewrites part of the solution: "),
        (by_role("<think>\n{{ m['content'] }}"), "opens a thought before the solution: '<think>"),
        (each(opening="<|im_start|>assistant\n<think>\n"), "opens a thought by itself, which no "),
        (each(opening=OPENING.replace("t\n", "t\n<think>\n")), "opens a thought by itself, which"),
        (each(opening="<|im_start|>assistant\n"), "begins another turn of the assistant after"),
        (each("<|im_start|>{{ m['role'] }}\n<|im_end|>\n"), "loses or rewrites the question: "),
        (each(TURN.replace("'] }}<", "'] | lower }}<")), "loses or rewrites the question: "),
        (each(TURN * 2), "shows the question more than once: "),
        ("{{ messages.nothing.at_all }}", "could not be used: 'list object' has no attribute"),
        (each(opening="{{ ''.__class__.__mro__ }}"), "could not be used: access to attribute '__c"),
    ],
)
def test_what_a_template_must_not_do(template: str, what: str) -> None:
    assert what in refusal(template)


def test_the_solution_of_each_problem_is_looked_for() -> None:
    """A template may do to some texts what it does not do to those that it is tried on."""
    made = tokenizer(by_role("{{ m['content'] | replace('lions', '') }}"))
    renderer = Renderer(made, "chat")
    renderer.example(SHOT)
    with pytest.raises(ModelError, match=r"part of the solution: 'lions' is lost; what is left is"):
        renderer.example(Problem("l", "How many lions?", "Two lions.\n#### 2", "2"))
    with pytest.raises(ModelError, match=r"more text around the solution 'Two tigers\."):
        made.chat_template = by_role("{{ m['content'] }}{{ '!' if 'tigers' in m['content'] }}")
        Renderer(made, "chat").example(Problem("t", "?", "Two tigers.", "2"))


def test_white_space_around_a_solution_may_be_trimmed() -> None:
    made = tokenizer(GEMMA)
    item = Problem("w", " How many? ", " Two.\n#### 2 \n", "2")
    assert "model\nTwo.\n#### 2<end_of_turn>" in Renderer(made, "chat").rendered(item).text


def test_messages_that_a_template_refuses() -> None:
    Renderer(tokenizer(GEMMA), "chat", shots=[SHOT])
    with pytest.raises(ModelError) as caught:
        Renderer(tokenizer(GEMMA), "chat", system="Be brief.")
    assert str(caught.value).endswith(
        "could not be used: System role not supported (given the roles system, user); leave "
        "prompt.system out, or use prompt.style=qa or repair the template"
    )
    silent = each("{% if m['role'] != 'system' %}" + TURN + "{% endif %}")
    assert "loses or rewrites the system message: 'Be brief.'" in refusal(
        silent, system="Be brief."
    )


def test_a_shown_solution_is_not_lost_either() -> None:
    """Qwen3 drops the thoughts of earlier turns."""
    earlier = by_role("{{ m['content'] if loop.last else m['content'].split('</think>')[-1] }}")
    Renderer(tokenizer(earlier), "chat", shots=[SHOT])
    assert "loses or rewrites a shown solution: " in refusal(earlier, shots=[THINKING])


def test_templates_are_checked_without_torch() -> None:
    """``validate`` does it with a tokenizer that only renders."""
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-c",
         "import sys; from mathtune.prompts import ChatTemplate; "
         "from transformers import PreTrainedTokenizerFast; "
         "from importlib import resources; "
         "folder = resources.files('mathtune.recipes') / 'tiny-base'; "
         "t = PreTrainedTokenizerFast.from_pretrained(str(folder)); "
         f"t.chat_template = {each()!r}; ChatTemplate(t); print('torch' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "False\n"
    assert ChatTemplate(tokenizer(each())).prompt("Hi?").endswith("<|im_start|>assistant\n")


def lossy(normalizer: object) -> PreTrainedTokenizerFast:
    made = tokenizers_for_tests.bpe()
    plain = json.loads(made.backend_tokenizer.to_str())
    backend = Tokenizer.from_str(json.dumps(plain))
    backend.normalizer = normalizer
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    "normalizer",
    [
        normalizers.Lowercase(),
        normalizers.Replace("\n", " "),
        normalizers.Replace(" ", ""),
        normalizers.Replace("#", ""),
    ],
    ids=["case", "line breaks", "spaces", "symbols"],
)
def test_a_tokenizer_that_loses_text_is_refused(style: str, normalizer: object) -> None:
    with pytest.raises(ModelError, match=r"does not keep a solution's text: .* keeps case, digits"):
        Renderer(lossy(normalizer), style)


def test_a_tokenizer_may_compose_characters() -> None:
    Renderer(lossy(normalizers.NFKC()), "qa")


def test_characters_that_the_tokenizer_does_not_know_are_counted() -> None:
    made = tokenizers_for_tests.bpe()
    made.add_special_tokens({"unk_token": "<unk>"})
    renderer = Renderer(made, "qa")
    examples = [renderer.example(SHOT), renderer.example(Problem("u", "Q?", "It is <unk>.", "1"))]
    assert renderer.unknown(examples) == 1


def test_a_token_without_an_embedding_is_refused_before_it_is_used() -> None:
    made = tokenizers_for_tests.bpe()
    rows = len(made)
    made.add_tokens(["<image>"])
    renderer = Renderer(made, "qa", embeddings=rows)
    renderer.prompt("What is 1+1?")
    with pytest.raises(ModelError, match=rf"contains the token '<image>' \({rows:,}\), and"):
        renderer.prompt("What is <image>?")
    with pytest.raises(ModelError, match="contains the token '<image>'"):
        renderer.example(Problem("i", "What?", "An <image>.", "1"))
