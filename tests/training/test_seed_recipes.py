"""The two published projects' models, built on the meta device from published configurations."""

from __future__ import annotations

import pytest
from transformers import GemmaConfig, LlamaConfig

from mathtune import config
from mathtune.models.loading import plan_parameters

GEMMA_2B = GemmaConfig(
    vocab_size=256_000,
    hidden_size=2048,
    intermediate_size=16_384,
    num_hidden_layers=18,
    num_attention_heads=8,
    num_key_value_heads=1,
    head_dim=256,
    tie_word_embeddings=True,
)
LLAMA_2_7B = LlamaConfig(
    vocab_size=32_000,
    hidden_size=4096,
    intermediate_size=11_008,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=32,
    tie_word_embeddings=False,
)


def test_gemma_2b_orca_trains_exactly_the_published_parameters():
    recipe = config.load("gemma-2b-orca")
    counts = plan_parameters(GEMMA_2B, recipe.adapter, load_in_4bit=recipe.model.load_in_4bit)
    assert counts.trainable == 9_805_824
    assert counts.total - counts.trainable == 2_506_172_416
    assert round(counts.total_packed / 1e9, 2) == 1.53  # what a look at the 4-bit tensors shows
    assert f"{counts.trainable_share_packed:.2%}" == "0.64%"
    assert f"{counts.trainable_share:.2%}" == "0.39%"
    train = recipe.train
    assert (train.per_device_train_batch_size, train.gradient_accumulation_steps) == (1, 4)
    assert (train.max_steps, train.learning_rate, train.optim) == (500, 2e-4, "paged_adamw_8bit")


def test_llama_2_7b_gsm8k_trains_every_parameter():
    recipe = config.load("llama-2-7b-gsm8k")
    counts = plan_parameters(LLAMA_2_7B, recipe.adapter)
    assert counts.total == counts.trainable == 6_738_415_616
    assert recipe.train.eval_strategy == "epoch"
    assert recipe.train.save_only_when_better


@pytest.mark.parametrize("name", config.recipe_names())
def test_every_recipe_is_valid_and_begins_with_its_command(name):
    from mathtune.config.loading import recipe_text

    recipe = config.load(name)
    first = recipe_text(name).splitlines()[0]
    assert first.startswith("# ")
    assert "mathtune " in first
    assert recipe.description
    assert config.parse(__import__("yaml").safe_load(config.dump(recipe))) == recipe
