"""The hf engine against ``model.generate`` on one prompt at a time, in float32."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

from mathtune.errors import ModelError
from mathtune.generation import Decoding
from mathtune.generation.hf import GenerationStats, HFEngine
from mathtune.generation.hf import engine as engine_module
from mathtune.records import Prompt, StopReason
from models_for_tests import tiny_model
from tokenizers_for_tests import bpe

NEW = 16
TIE = (
    1e-4  # logits closer than this are a tie; the logits of these models spread over several units
)


@pytest.fixture(scope="module")
def tokenizer():
    return bpe()


@pytest.fixture(scope="module")
def llama(tokenizer):
    return tiny_model("llama", len(tokenizer)).eval()


def prompts_of(vocabulary: int, *, shared: int, count: int = 9) -> list[Prompt]:
    """Prompts of 3 to 13 tokens behind ``shared`` equal ones, none of them an end of text."""
    generator = random.Random(shared)
    prefix = generator.choices(range(2, vocabulary), k=shared)
    return [
        Prompt(
            f"p{i}",
            "",
            (
                *prefix,
                2 + i,
                *generator.choices(range(2, vocabulary), k=2 + generator.randrange(11)),
            ),
        )
        for i in range(count)
    ]


def plain(model, prompt: Prompt, new: int = NEW) -> tuple[int, ...]:
    ids = torch.tensor([prompt.ids])
    output = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False
    )
    return tuple(output[0, len(prompt.ids) :].tolist())


@torch.no_grad()
def assert_same_or_tied(model, prompt: Prompt, ours, theirs) -> None:
    if tuple(ours) == tuple(theirs):
        return
    at = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b)
    logits = model(torch.tensor([[*prompt.ids, *theirs[:at]]])).logits[0, -1]
    gap = (logits[ours[at]] - logits[theirs[at]]).abs().item()
    assert gap < TIE, f"{prompt.problem_id} differs at {at}, where the logits are {gap} apart"


def check_against_generate(
    model, tokenizer, prompts, row_counts, **options
) -> Iterator[GenerationStats]:
    wanted = {prompt.problem_id: plain(model, prompt) for prompt in prompts}
    for rows in row_counts:
        engine = HFEngine(model, tokenizer, rows=rows, **options)
        found = {c.problem_id: c for c in engine.generate(prompts, Decoding(max_new_tokens=NEW))}
        assert len(found) == len(prompts)
        for prompt in prompts:
            name = prompt.problem_id
            assert_same_or_tied(model, prompt, found[name].ids, wanted[name])
        yield engine.stats


@pytest.mark.parametrize("shared", [0, 24])
@pytest.mark.parametrize("name", ["llama", "gemma", "gemma2", "qwen2"])
def test_greedy_equals_generate(name, shared, tokenizer):
    model = tiny_model(name, len(tokenizer)).eval()
    prompts = prompts_of(len(tokenizer), shared=shared)
    found = list(check_against_generate(model, tokenizer, prompts, (1, 3, 8)))
    assert [stats.rows for stats in found] == [1, 3, 8]
    for stats in found:
        assert stats.plain_reason is None
        assert stats.shared_prefix_tokens == shared


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
        {"model_type": "mistral", "sliding_window": 9, "num_key_value_heads": 2},
        {"model_type": "gemma3_text", "sliding_window": 9, "num_key_value_heads": 2, "head_dim": 8},
    ],
    ids=lambda config: config["model_type"],
)
def test_greedy_equals_generate_with_learned_positions_and_sliding_windows(config, tokenizer):
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3}
    if config["model_type"] == "gpt2":
        sizes = {}
    else:
        sizes |= {"num_attention_heads": 4, "max_position_embeddings": 64}
    kind = {key: value for key, value in config.items() if key != "model_type"}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(
            config["model_type"],
            vocab_size=len(tokenizer),
            **sizes,
            **kind,
            initializer_range=0.3,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    ).eval()
    prompts = prompts_of(len(tokenizer), shared=20)
    (stats,) = check_against_generate(model, tokenizer, prompts, [4])
    assert stats.plain_reason is None


@pytest.mark.parametrize("shared", [0, 24])
@pytest.mark.parametrize(
    ("name", "options"),
    [("llama", {}), ("gemma2", {}), ("mistral", {"sliding_window": 9})],  # softcap; short window
    ids=["llama", "gemma2", "mistral"],
)
def test_prompts_that_are_stored_once_for_all_their_samples(
    name, options, shared, tokenizer, monkeypatch
):
    monkeypatch.setattr(engine_module, "worth_sharing", lambda lengths, samples: True)
    made = []
    inner = HFEngine._forward
    monkeypatch.setattr(
        HFEngine, "_forward", lambda self, *given: made.append(inner(self, *given)) or made[-1]
    )
    model = tiny_model(name, len(tokenizer), **options).eval()
    prompts = prompts_of(len(tokenizer), shared=shared, count=6)
    engine = HFEngine(model, tokenizer, rows=4)  # so that samples wait for a row
    decoding = Decoding(max_new_tokens=NEW, samples=3, logprobs=True)
    found = list(engine.generate(prompts, decoding))
    assert engine.stats.plain_reason is None and len(found) == 18
    assert engine.stats.prompt_tokens == sum(len(p.ids) - shared for p in prompts)
    by_name = {prompt.problem_id: prompt for prompt in prompts}
    for completion in found:
        prompt = by_name[completion.problem_id]
        assert_same_or_tied(model, prompt, completion.ids, plain(model, prompt))
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt.ids, *completion.ids]])).logits[0]
        own = logits[len(prompt.ids) - 1 : -1].log_softmax(-1)
        expected = own.gather(1, torch.tensor(completion.ids)[:, None])[:, 0]
        assert torch.tensor(completion.logprobs) == pytest.approx(expected, abs=1e-4)
    (forward,) = made
    for layer in forward._cache._layers.values():
        assert 1 <= len(layer.prompts) <= 5  # one per row and one that samples wait for
        assert layer.rows[0].shape[1] == NEW  # a row has room for its answer only


@pytest.mark.parametrize("kind", ["bloom", "mamba", "gpt_oss"])
def test_an_architecture_that_cannot_be_packed_is_decoded_rightly_and_said(kind, tokenizer, caplog):
    settings = {
        "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},  # positions inside attention
        "mamba": {"hidden_size": 32, "num_hidden_layers": 2},  # no attention
        "gpt_oss": {  # attention with sinks
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "head_dim": 8,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
            "max_position_embeddings": 64,
            "rope_scaling": None,
        },
    }[kind]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(
            kind,
            vocab_size=len(tokenizer),
            initializer_range=0.3,
            **settings,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    ).eval()
    with caplog.at_level(logging.WARNING):
        prompts = prompts_of(len(tokenizer), shared=6, count=3)
        (stats,) = check_against_generate(model, tokenizer, prompts, [4])
    assert "attention" in stats.plain_reason
    assert stats.rows == 1
    assert any("one row at a time" in record.message for record in caplog.records)


def test_rows_are_refilled_as_they_finish(llama, tokenizer):
    prompts = prompts_of(len(tokenizer), shared=17, count=12)
    # Every third prompt's tenth token ends a text, so that lengths differ.
    llama.generation_config.eos_token_id = [1, *{plain(llama, p, 10)[9] for p in prompts[::3]}]
    try:
        engine = HFEngine(llama, tokenizer, rows=4)
        found = {c.problem_id: c for c in engine.generate(prompts, Decoding(max_new_tokens=30))}
        for prompt in prompts:
            ours = found[prompt.problem_id].ids
            assert_same_or_tied(llama, prompt, ours, plain(llama, prompt, 30))
    finally:
        llama.generation_config.eos_token_id = 1
    order = sorted(prompts, key=lambda prompt: -len(prompt.ids))
    lengths = [len(found[prompt.problem_id].ids) for prompt in order]
    assert len(set(lengths)) > 2
    # Each answer takes the row that is free first, for as many steps as it has tokens.
    free = [0] * 4
    for length in lengths:
        free[free.index(min(free))] += length
    assert engine.stats.steps == max(free)
    assert engine.stats.steps < sum(max(lengths[i : i + 4]) for i in (0, 4, 8))


def test_completions_come_as_they_end_and_progress_is_told(llama, tokenizer):
    told = []
    engine = HFEngine(
        llama, tokenizer, rows=2, on_progress=lambda done, total: told.append((done, total))
    )
    prompts = prompts_of(len(tokenizer), shared=24, count=4)
    stream = engine.generate(prompts, Decoding(max_new_tokens=5))
    next(stream)
    steps_at_first = engine.stats.steps
    assert len(list(stream)) == 3
    assert steps_at_first < engine.stats.steps
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_small_prefill_budget_changes_nothing_but_the_steps(llama, tokenizer):
    prompts = prompts_of(len(tokenizer), shared=24, count=8)
    small, large = (
        next(check_against_generate(llama, tokenizer, prompts, [8], prefill_tokens=tokens)).steps
        for tokens in (1, 1000)
    )
    assert large == NEW
    assert small == NEW + 7  # one prompt a step: the eighth starts seven steps later


def test_the_memory_budget_sets_the_rows(llama, tokenizer):
    prompts = prompts_of(len(tokenizer), shared=0, count=9)
    decoding = Decoding(max_new_tokens=NEW)
    longest = max(len(prompt.ids) for prompt in prompts) + NEW
    # 2 layers x (keys + values) x 2 heads x 8 numbers x 4 bytes = 256 bytes a token.
    row = longest * 256 + len(tokenizer) * 32
    engine = HFEngine(llama, tokenizer, memory_budget_bytes=5 * row)
    assert len(list(engine.generate(prompts, decoding))) == 9
    assert engine.stats.rows == 4  # the fifth is the spare one
    with pytest.raises(ModelError, match="memory budget"):
        list(HFEngine(llama, tokenizer, memory_budget_bytes=row).generate(prompts, decoding))


def test_eos_length_and_stop_string(llama, tokenizer):
    prompt = prompts_of(len(tokenizer), shared=0, count=1)[0]
    text_ids = plain(llama, prompt, 12)
    engine = HFEngine(llama, tokenizer)

    (whole,) = engine.generate([prompt], Decoding(max_new_tokens=12))
    assert (whole.stop_reason, whole.ids) == (StopReason.LENGTH, text_ids)

    llama.generation_config.eos_token_id = [1, text_ids[5]]
    try:
        (ended,) = engine.generate([prompt], Decoding(max_new_tokens=12))
    finally:
        llama.generation_config.eos_token_id = 1
    first = text_ids.index(text_ids[5])
    assert ended.stop_reason is StopReason.EOS
    assert ended.ids == text_ids[: first + 1]

    # A stop string from the middle of one token to the middle of another.
    stop = whole.text[3:9]
    (stopped,) = engine.generate([prompt], Decoding(max_new_tokens=12, stop=("no such", stop)))
    assert stopped.stop_reason is StopReason.STOP_STRING
    assert stopped.text == whole.text[: whole.text.index(stop)]
    assert stopped.ids == text_ids[: len(stopped.ids)]
    assert len(stopped.ids) < 12


def test_a_stop_string_that_is_a_special_token(llama, tokenizer):
    prompt = prompts_of(len(tokenizer), shared=0, count=1)[0]
    marker = tokenizer.convert_tokens_to_ids("<|im_end|>")
    second = plain(llama, prompt, 2)[1]
    with torch.no_grad():  # the marker's output row becomes a larger copy of the second token's
        before = llama.lm_head.weight[marker].clone()
        llama.lm_head.weight[marker] = llama.lm_head.weight[second] * 1.5
    try:
        theirs = plain(llama, prompt, 12)
        decoding = Decoding(max_new_tokens=12, stop=("<|im_end|>",))
        (found,) = HFEngine(llama, tokenizer).generate([prompt], decoding)
    finally:
        with torch.no_grad():
            llama.lm_head.weight[marker] = before
    assert marker in theirs
    assert found.stop_reason is StopReason.STOP_STRING
    assert found.ids == theirs[: theirs.index(marker) + 1]
    assert "im_end" not in found.text


def test_logprobs_are_the_models_own(llama, tokenizer):
    prompt = prompts_of(len(tokenizer), shared=0, count=1)[0]
    decoding = Decoding(max_new_tokens=6, temperature=1.5, top_p=0.9, logprobs=True)
    (found,) = HFEngine(llama, tokenizer).generate([prompt], decoding)
    with torch.no_grad():
        logits = llama(torch.tensor([[*prompt.ids, *found.ids]])).logits[0]
    wanted = logits.log_softmax(-1)[len(prompt.ids) - 1 : -1].gather(
        1, torch.tensor(found.ids)[:, None]
    )
    assert found.logprobs == pytest.approx(wanted.flatten().tolist(), abs=1e-4)


def test_a_prompt_that_fills_the_context_is_an_error_and_a_long_answer_ends_with_it(tokenizer):
    model = tiny_model("llama", len(tokenizer), max_position_embeddings=16)
    engine = HFEngine(model, tokenizer)
    fits, too_long = (
        Prompt("fits", "", tuple(range(2, 14))),
        Prompt("long", "", tuple(range(2, 18))),
    )
    with pytest.raises(ModelError, match=r"'long' has 16 tokens.*context 16"):
        engine.generate([fits, too_long], Decoding())
    (found,) = engine.generate([fits], Decoding(max_new_tokens=50))
    assert len(found.ids) == 4  # 12 + 4 = 16
    assert found.stop_reason is StopReason.LENGTH


def test_the_model_is_left_as_it_was(llama, tokenizer):
    llama.train()
    attention = llama.config._attn_implementation
    prompts = prompts_of(len(tokenizer), shared=24)
    stream = HFEngine(llama, tokenizer, rows=2).generate(prompts, Decoding(max_new_tokens=4))
    next(stream)
    # Between completions the model computes as ever, with gradients.
    loss = llama(torch.tensor([prompts[0].ids]), labels=torch.tensor([prompts[0].ids])).loss
    loss.backward()
    assert llama.model.layers[0].mlp.down_proj.weight.grad.abs().sum() > 0
    stream.close()
    assert llama.training
    assert llama.config._attn_implementation == attention
    assert "forward" not in vars(llama.lm_head)
    llama.zero_grad(set_to_none=True)
    llama.eval()


def test_training_between_two_calls_is_seen(tokenizer):
    model = tiny_model("llama", len(tokenizer)).eval()
    prompts = prompts_of(len(tokenizer), shared=24, count=3)
    engine = HFEngine(model, tokenizer)
    before = [c.ids for c in engine.generate(prompts, Decoding(max_new_tokens=NEW))]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    after = {c.problem_id: c.ids for c in engine.generate(prompts, Decoding(max_new_tokens=NEW))}
    assert list(after.values()) != before
    for prompt in prompts:
        assert_same_or_tied(model, prompt, after[prompt.problem_id], plain(model, prompt))


def test_logits_that_are_not_finite_are_an_error(tokenizer):
    model = tiny_model("llama", len(tokenizer))
    engine = HFEngine(model, tokenizer)
    prompts = prompts_of(len(tokenizer), shared=4, count=2)
    list(engine.generate(prompts, Decoding(max_new_tokens=1)))
    with torch.no_grad():
        model.lm_head.weight[7] = float("nan")
    with pytest.raises(ModelError, match="not finite"):
        list(engine.generate(prompts, Decoding()))


def test_lora_and_4_bit_models(tokenizer, tmp_path):
    sizes = {"hidden_size": 128, "intermediate_size": 128, "num_key_value_heads": 4}
    tiny_model("llama", len(tokenizer), **sizes).save_pretrained(tmp_path)
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    prompts = prompts_of(len(tokenizer), shared=20, count=4)
    for options in ({}, {"quantization_config": nf4, "device_map": "cpu"}):
        base = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32, **options)
        for module in base.modules():  # as mathtune loads models: see training/model.py
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False
        model = get_peft_model(base, lora).eval()
        (stats,) = check_against_generate(model, tokenizer, prompts, [3])
        assert stats.plain_reason is None
        # It still trains afterwards.
        model.train()
        ids = torch.tensor([prompts[0].ids])
        model(input_ids=ids, labels=ids).loss.backward()
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_an_adapter_with_virtual_tokens_is_refused(tokenizer):
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    model = get_peft_model(tiny_model("llama", len(tokenizer)), config)
    with pytest.raises(ModelError, match="LoRA"):
        HFEngine(model, tokenizer)


def test_no_prompts_and_empty_prompts(llama, tokenizer):
    engine = HFEngine(llama, tokenizer)
    assert list(engine.generate([], Decoding())) == []
    with pytest.raises(ModelError, match="no tokens"):
        engine.generate([Prompt("a", "", ())], Decoding())
