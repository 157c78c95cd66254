"""Recipes: all faults at once, each with its remedy, and what is left of a recipe without them."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import pytest

from mathtune import config
from mathtune.errors import ConfigError
from timing_for_tests import least_seconds

GOOD = {
    "name": "good",
    "model": "google/gemma-2b",
    "data": {"train": "gsm8k:train", "test": "gsm8k:test"},
}


def faults(*overrides: str, recipe: str = "gsm8k-eval") -> list[str]:
    return list(config.load_draft(recipe, overrides).faults)


@pytest.mark.parametrize("name", config.recipe_names())
def test_recipes_of_the_package_load_and_dump_to_themselves(name: str, tmp_path: Path) -> None:
    recipe = config.load(name)
    assert recipe.name == name
    (tmp_path / "again.yaml").write_text(config.dump(recipe))
    assert config.load(str(tmp_path / "again.yaml")) == recipe


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("train.max_stepz=3", "unknown key train.max_stepz; did you mean 'max_steps'?"),
        ("learning_rate=3", "unknown key learning_rate; did you mean 'train.learning_rate'?"),
        ("train.seed=3", "unknown key train.seed; did you mean 'seed'?"),
        ("train.xyz=3", "unknown key train.xyz; mathtune recipes --knobs lists all keys"),
        (
            "prompt.xyz=3",
            "unknown key prompt.xyz; the keys here are style, system, shots, shot_source",
        ),
        (
            "train.max_steps=1.5",
            "train.max_steps=1.5 is not a whole number; give one, as in train.max_steps=100",
        ),
        ("train.max_steps=0", "train.max_steps is 0; give the number of steps, or -1 to train by "),
        ("train.max_steps=-2", "train.max_steps is -2; give the number of steps, or -1 to train "),
        (
            "train.learning_rate=fast",
            "train.learning_rate='fast' is not a number; give one, as in train.learning_rate=2e-05",
        ),
        ("train.learning_rate=-1", "train.learning_rate=-1 is too small; give a number above 0"),
        (
            "train.learning_rate=.inf",
            "train.learning_rate=inf is not a finite number; give one, as ",
        ),
        ("train.learning_rate=true", "train.learning_rate='true' is not a number; give one, as in"),
        ("eval.confidence=95", "eval.confidence=95 is too large; give a number below 1"),
        ("seed=-1", "seed=-1 is too small; give a number of at least 0"),
        ("seed=4294967296", "seed=4294967296 is too large; give a number below 4294967296"),
        ("eval.calculator=3", "eval.calculator=3 is neither true nor false; give one of them"),
        (
            "eval.stop=x",
            "eval.stop='x' is not a list; put it in brackets, as in eval.stop: ['x']",
        ),
        (
            "eval.example=3",
            'eval.example=3 is not a string; put it in quotes, as in eval.example: "3',
        ),
        (
            "model.dtype=bf16",
            "model.dtype='bf16' is unknown; give auto, float32, bfloat16 or float16; did you mean "
            "'bfloat16'?",
        ),
        ("train=3", "train=3 is not a section with keys; set its keys one by one, as in "),
        ("adapter=lora", "adapter='lora' is not a section with keys; set its keys one by one, as "),
        ("model=3", "model=3 is not a model; give a saved model's folder, a hub id such as "),
        ("model=", "model is empty; give a saved model's folder, a hub id such as "),
        ("name=", "name is empty; give it a value (Short name; part of the run folder's name)"),
        ("name=a/b", "name is 'a/b'; give a word without '/', as it is in a folder's name"),
        ("data.test=", "data.test is empty; give it a value (Sets to report on; the first is "),
        (
            "data.test=[]",
            "data.test=[] is an empty list; name at least one, as in data.test: [gsm8",
        ),
        (
            "data.train={generated: facts}",
            "data.train.0 generated problems need n, for example n: ",
        ),
        ("data.train=[gsm8k, {pth: x}]", "unknown key data.train.1.pth; did you mean 'path'?"),
        (
            "data.train={generated: facts, n: true}",
            "data.train.0.n='true' is not a whole number; give one, as in data.train.0.n=100",
        ),
        ("data.test=[{sources: gsm8k}]", "data.test.0.label is missing; give it a value (Name in "),
        ("data.test=[{label: a}]", "data.test.0.sources is missing; give it a value (Where its "),
        ("adapter.target_modules=3", "adapter.target_modules=3 is not a list; put it in brackets"),
        (
            "train.eval_strategy=off",
            "train.eval_strategy='off' is unknown; give epoch, steps or no",
        ),
        (
            "train={eval_strategy: no, early_stopping_patience: 2}",
            "train.early_stopping_patience=2 with train.eval_strategy=no: only validations can ",
        ),
        (
            "train={eval_strategy: no, lr_scheduler_type: reduce_lr_on_plateau}",
            "train.lr_scheduler_type=reduce_lr_on_plateau with train.eval_strategy=no: the ",
        ),
        ("model.load_in_4bit=true", "model.load_in_4bit=true with adapter empty: 4-bit weights "),
        (
            "train.max_steps",
            "override 'train.max_steps' is not of the form key=value; write for example",
        ),
        ("train..max_steps=1", "override 'train..max_steps=1' is not of the form key=value; "),
        ("seed.x=1", "override seed.x: seed has no keys of its own; set seed itself"),
    ],
)
def test_a_fault_is_a_sentence_with_its_remedy(override: str, fault: str) -> None:
    text = "name: t\nseed: 1\nmodel: tiny-base\ndata: {train: gsm8k, test: gsm8k}\n"
    assert [found[: len(fault)] for found in _with_text(text, override)] == [fault]


def _with_text(text: str, *overrides: str) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        return faults(*overrides, recipe=str(path))


def test_all_faults_are_told_at_once_and_the_rest_is_kept() -> None:
    found = config.load_draft(
        "gsm8k-eval",
        [
            "train.max_stepz=3",
            "eval.max_new_tokens=many",
            "model=some/model",
            "data.train=[{n: 1}, mine.jsonl]",
            "model.load_in_4bit=true",
        ],
    )
    assert [fault.split()[0].partition("=")[0] for fault in found.faults] == [
        *("data.train.0", "unknown", "eval.max_new_tokens", "model.load_in_4bit"),
    ]
    assert found.recipe.model.name_or_path == "some/model"
    assert [source.path for source in found.recipe.data.train] == ["mine.jsonl"]
    assert found.recipe.eval.max_new_tokens == 256  # its default


def test_a_conflict_is_not_told_of_what_was_left_out() -> None:
    # adapter is wrong and so left out; that 4-bit weights need one would lead astray.
    (fault,) = faults("model.load_in_4bit=true", "adapter=lora")
    assert fault.startswith("adapter='lora' is not a section")


def test_nothing_sound_at_all() -> None:
    found = _with_text("model: 3\ndata: 4\nadapter: 5\ntrain: 6\n")
    assert [fault.split()[0].partition("=")[0] for fault in found] == [
        *("name", "model", "adapter", "data", "train"),
    ]


def test_a_key_that_stands_twice_is_a_fault() -> None:
    text = "name: t\nmodel: m/m\ndata: {train: gsm8k, test: gsm8k}\ntrain:\n  optim: sgd\nname: u\n"
    assert _with_text(text) == [
        "key name is on line 1 and again on line 6 of the recipe; keep one of them"
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds nothing where the keys name, model and data should be; print one to start"),
        (b"- a\n- b\n", "holds a list where the keys name, model and data should be"),
        (b"name: [1\n", "is not valid YAML (line 2, column 1: expected ',' or ']', but got '<str"),
        (b"name: 2024-13-45\n", "is not valid YAML (month must be in 1..12); correct it there"),
        (b"name: \xff\n", "is not UTF-8 text (byte 6); give the path of a YAML file"),
        (b"[" * 1000, "is not valid YAML (nested too deeply); correct it there"),
    ],
)
def test_a_recipe_that_cannot_be_read(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        config.load(str(path))
    (fault,) = caught.value.faults
    assert message in fault and str(path) in fault and "\n" not in fault


def _bomb(item: str) -> bytes:
    """Nine lists of ten, each of the one before: a billion values in 400 bytes."""
    lines = [f"x0: &x0 [{', '.join([item] * 10)}]"]
    lines += [f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 10)}]" for i in range(1, 9)]
    return "\n".join(["name: a", *lines, "data: {train: *x8}"]).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_bomb("lol"), "with its aliases (*) expanded it holds 11,111 values, and at most"),
        (_bomb("{a: 1}"), "with its aliases (*) expanded it holds"),
        (
            b"x0: &x0 {a: 1}\nx1: &x1 {<<: [*x0, *x0]}\n"
            + b"".join(
                f"x{i}: &x{i} {{<<: [{', '.join([f'*x{i - 1}'] * 10)}]}}\n".encode()
                for i in range(2, 9)
            ),
            "with its aliases (*) expanded it holds",
        ),
        (b"name: &a [*a]\n", "an alias (*) is inside what it refers to"),
        (b"data: &a {train: *a}\n", "an alias (*) is inside what it refers to"),
        (b"a: [" + b"1," * 2_000_000 + b"]\n", "it holds more than 10,000 values"),
        (b"a: " + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_yaml_that_grows_is_refused_at_once(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        config.load(str(path))
    assert least_seconds(partial(pytest.raises, ConfigError, config.load, str(path)), 0.5) < 1
    (fault,) = caught.value.faults
    assert "is not valid YAML" in fault and message in fault and "\n" not in fault


def test_an_override_that_grows_is_refused_at_once() -> None:
    grown = "&a [1, 1], " + ", ".join(
        f"&{x} [{', '.join([f'*{y}'] * 99)}]" for x, y in ("ba", "cb", "dc")
    )

    def refused() -> None:
        with pytest.raises(ConfigError, match=r"override data\.train is too large: with its alias"):
            config.load("demo", [f"data.train=[{grown}]"])

    assert least_seconds(refused, enough=0.5) < 1


def test_aliases_that_stay_small_are_read(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("name: a\nmodel: m/m\ndata: {train: &g [gsm8k], test: *g}\n")
    recipe = config.load(str(path))
    assert [source.name for source in recipe.data.train] == ["gsm8k"]


def test_recipes_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory\); give the path"):
        config.load(f"{tmp_path}/")
    with pytest.raises(ConfigError, match=r"does not exist; check the path$"):
        config.load(str(tmp_path / "no.yaml"))
    with pytest.raises(ConfigError, match=r"no recipe is called 'demmo'.*; did you mean 'demo'\?$"):
        config.load("demmo")


def test_no_and_off_are_words_where_a_word_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "name: on\nmodel: m/m\ndata: {train: gsm8k, test: gsm8k}\n"
        "train: {eval_strategy: no, padding_free: off, full_determinism: Yes}\n"
    )
    determinism = "train.full_determinism=Yes"
    for recipe in (
        config.load(str(path)),
        config.load(
            "gsm8k-eval",
            ["name=on", "train.eval_strategy=no", "train.padding_free=off", determinism],
        ),
    ):
        assert (recipe.name, recipe.train.eval_strategy) == ("on", "no")
        assert recipe.train.padding_free is False and recipe.train.full_determinism is True
        (tmp_path / "saved.yaml").write_text(config.dump(recipe))
        assert config.load(str(tmp_path / "saved.yaml")) == recipe


def test_overrides_are_yaml_and_reach_into_lists() -> None:
    overrides = [
        "data.train=[gsm8k, {generated: facts, n: 1}]",
        "data.train.1.n=7",
        "data.test=[{label: mine, sources: mine.jsonl}]",
        "data.test.0.label=yours",
        "train.learning_rate=1e-3",
        "adapter.r=8",
        "adapter=",
        "tracking.report_to=[wandb]",
    ]
    recipe = config.load("gsm8k-eval", overrides)
    assert recipe.train.learning_rate == 1e-3
    assert recipe.data.train[1].n == 7
    (test,) = recipe.data.test
    assert (test.label, test.sources[0].path) == ("yours", "mine.jsonl")
    assert recipe.adapter is None
    assert recipe.tracking.report_to == ["wandb"]
    assert faults(overrides[0], "data.train.9.n=1") == [
        "override data.train.9.n: data.train is a list of 2 and '9' is no index in it; give a "
        "number from 0 to 1, or set data.train itself"
    ]


def test_another_model_keeps_how_it_is_held_in_memory() -> None:
    kept = config.load("gemma-2b-orca", ["model=other/model"]).model
    assert (kept.name_or_path, kept.load_in_4bit) == ("other/model", True)
    assert config.load("tiny-base", ["model=other/model"]).model.from_config is None


def test_a_key_given_twice_must_agree() -> None:
    assert faults("seed=1", "seed=2") == ["seed is given as 1 and as 2; give it once"]
    assert config.load("gsm8k-eval", ["seed=7", "seed=7"]).seed == 7


@pytest.mark.parametrize(
    "value", ["a: b", "[x", "1e5", "true", "", "x, y.jsonl", 'say "hi" 😀', "#"]
)
def test_as_override_sets_just_the_value(value: str) -> None:
    recipe = config.load("gsm8k-eval", [config.as_override("eval.example", value)])
    assert recipe.eval.example == value


def test_parse_takes_a_mapping() -> None:
    assert config.parse(GOOD).model.name_or_path == "google/gemma-2b"
    with pytest.raises(ConfigError, match=r"unknown key nmae; did you mean 'name'\?"):
        config.parse({**GOOD, "nmae": 1})


def test_knobs_are_documented_and_unique() -> None:
    found = list(config.knobs())
    keys = [key for key, _, _ in found]
    assert len(set(keys)) == len(keys) > 60
    assert all(text for _, _, text in found)
    assert ("train.optim", "'adamw_torch_fused'") in [(key, default) for key, default, _ in found]
