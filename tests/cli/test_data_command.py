"""``mathtune data``: preview, check and generate as commands."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from command_for_tests import faults_of, jsonl, mathtune, solved
from mathtune.cli.data_preview import bracketed, coloured
from mathtune.preflight.data_preview import ShownExample, ShownToken


def recipe(folder: Path, **train: object) -> str:
    jsonl(folder / "train.jsonl", [*(solved(n) for n in range(2, 42)), solved(2)])
    jsonl(folder / "test.jsonl", [solved(n, "cups") for n in range(2, 6)])
    path = folder / "mine.yaml"
    settings = {
        "name": "mine",
        "model": {"name_or_path": "tiny-base"},
        "data": {"train": "train.jsonl", "test": "test.jsonl", "contamination": "report"},
        "train": {"max_length": 256, **train},
        "eval": {"max_new_tokens": 20},
    }
    path.write_text(json.dumps(settings))
    return str(path)


def test_preview_shows_tokens_lengths_and_drops(tmp_path: Path) -> None:
    done = mathtune("data", "preview", recipe(tmp_path), "--show", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    out = done.stdout
    assert "  duplicate: 1\n" in out
    assert "longer than train.max_length=256: 0\n" in out
    assert "\n<s>Question: Ann has " in out
    shown = out[out.index("<s>Question") :]
    prompt, supervised = shown.split("⟦")
    assert prompt.endswith("How many has she?\nAnswer:")
    assert supervised.partition("⟧")[0].endswith("</s>")
    assert out.count("example ") == 1


def test_preview_as_json_holds_every_token(tmp_path: Path) -> None:
    given = recipe(tmp_path, max_length=52)
    done = mathtune("data", "preview", given, "--json", "--show", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    train = next(each for each in found["sets"] if each["label"] == "train")
    assert sum(count for _, _, count in found["lengths"]["bins"]) == train["problems"]
    assert found["max_length"] == 52
    beyond = sum(count for low, _, count in found["lengths"]["bins"] if low > 52)
    assert 0 < beyond <= found["too_long"] <= train["problems"]
    for example in found["examples"]:
        tokens = example["tokens"]
        assert sum(token["supervised"] for token in tokens) == example["targets"]
        assert not any(token["supervised"] for token in tokens[: example["prompt_tokens"]])
        assert all(token["supervised"] for token in tokens[example["prompt_tokens"] :])
        assert tokens[0]["text"] == "<s>" and tokens[-1]["text"] == "</s>"
        assert tokens[0]["special"] and not tokens[1]["special"]
        assert example["fits"] == (len(tokens) <= 52)


def test_hostile_text_is_shown_as_text() -> None:
    tokens = (ShownToken(1, "a\x1b[2J", False, False), ShownToken(2, "\u202e24", True, False))
    example = ShownExample("p", "s", "24", tokens, 1, 1, True)
    assert bracketed(example) == "a\\x1b[2J⟦\\u202e24⟧"
    assert coloured(example).plain == "a\\x1b[2J\\u202e24"
    assert "green" in str(coloured(example).spans)


def test_check_exits_with_1_where_something_was_found(tmp_path: Path) -> None:
    clean = str(jsonl(tmp_path / "clean.jsonl", [solved(n) for n in range(5)]))
    done = mathtune("data", "check", clean, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("training would use every row\n")
    done = mathtune(
        "data",
        "check",
        clean,
        "--against",
        clean,
        "--output",
        "pairs.jsonl",
        "--json",
        cwd=tmp_path,
    )
    assert done.returncode == 1, done.stderr
    figures = json.loads(done.stdout)
    assert figures["overlaps"] == {"same question": 5} and figures["left_out"] == 5
    assert len((tmp_path / "pairs.jsonl").read_text().splitlines()) >= 5


def test_rows_in_prose_are_named_briefly_with_the_remedy(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", [{"question": f"{n}?", "answer": "That is 4."} for n in range(2)])
    done = mathtune("data", "check", "a.jsonl", cwd=tmp_path)
    assert done.returncode == 1
    assert "(first: line 1, line 2); give prose: true to use likely ones" in done.stdout


def test_check_takes_settings_of_a_source(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", [{"q": "Two and two?", "a": "That makes 4."}])
    settings = "{path: a.jsonl, prose: true, fields: {question: q, answer: a}}"
    done = mathtune("data", "check", settings, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "likely" in done.stdout
    (fault,) = faults_of(mathtune("data", "check", "{path: a.jsonl", cwd=tmp_path))
    assert "is not written correctly" in fault


def test_a_source_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_bytes(b"")
    (tmp_path / "binary.jsonl").write_bytes(bytes(range(256)) * 50)
    (fault,) = faults_of(mathtune("data", "check", "empty.jsonl", cwd=tmp_path))
    assert "empty.jsonl is empty (0 bytes)" in fault
    (fault,) = faults_of(mathtune("data", "check", "binary.jsonl", cwd=tmp_path))
    assert "is not text" in fault
    jsonl(tmp_path / "ok.jsonl", [solved(1)])
    done = mathtune("data", "check", "ok.jsonl", "--against", "gsm9k:test", cwd=tmp_path)
    (fault,) = faults_of(done)
    assert "no set is called 'gsm9k'" in fault and "gsm8k" in fault


def test_the_file_of_pairs_replaces_nothing_unasked(tmp_path: Path) -> None:
    rows = jsonl(tmp_path / "a.jsonl", [solved(1)])
    before = rows.read_bytes()
    check = ("data", "check", "a.jsonl", "--against", "a.jsonl", "--output")
    for more in ((), ("--overwrite",)):
        (fault,) = faults_of(mathtune(*check, "./a.jsonl", *more, cwd=tmp_path))
        assert "the output would replace a.jsonl itself" in fault
    assert rows.read_bytes() == before
    (tmp_path / "pairs.jsonl").write_text("mine")
    (fault,) = faults_of(mathtune(*check, "pairs.jsonl", cwd=tmp_path))
    assert "pairs.jsonl already exists; give --overwrite, or another --output" in fault
    assert (tmp_path / "pairs.jsonl").read_text() == "mine"
    assert mathtune(*check, "pairs.jsonl", "--overwrite", cwd=tmp_path).returncode == 1
    assert "same question" in (tmp_path / "pairs.jsonl").read_text()
    (fault,) = faults_of(mathtune(*check, "no/pairs.jsonl", cwd=tmp_path))
    assert "the folder no does not exist; make it, or give another path" in fault


def test_what_is_here_is_not_looked_for_on_the_hub(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    jsonl(tmp_path / "rows", [solved(1)])
    (tmp_path / "link.jsonl").symlink_to("gone.jsonl")
    for name, words in {
        "rows": "rows has no ending; problems are read from .jsonl",
        "folder": "folder is a folder; give it as path, as in '{path: folder}'",
        "link.jsonl": "link.jsonl is a link to gone.jsonl, which does not exist",
    }.items():
        (fault,) = faults_of(mathtune("data", "check", name, cwd=tmp_path))
        assert fault.startswith(words), fault


def test_generate_writes_the_same_bytes_and_how_they_were_made(tmp_path: Path) -> None:
    options = ("-n", "20", "--seed", "1", "--types", "average,new")
    done = mathtune("data", "generate", *options, "--out", "a.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert mathtune("data", "generate", *options, "--out", "b.jsonl", cwd=tmp_path).returncode == 0
    content = (tmp_path / "a.jsonl").read_bytes()
    assert content == (tmp_path / "b.jsonl").read_bytes() and content.count(b"\n") == 20
    note = json.loads((tmp_path / "a.provenance.json").read_text())
    assert note["sha256"] == hashlib.sha256(content).hexdigest()
    assert (note["seed"], note["n"], note["part"]) == (1, 20, "train")
    assert mathtune("data", "check", "a.jsonl", cwd=tmp_path).returncode == 0
    (fault,) = faults_of(mathtune("data", "generate", *options, "--out", "a.jsonl", cwd=tmp_path))
    assert "a.jsonl exists" in fault
    (fault,) = faults_of(
        mathtune(
            "data", "generate", "-n", "1", "--types", "avrage", "--out", "c.jsonl", cwd=tmp_path
        )
    )
    assert "no problem type is called 'avrage'" in fault
