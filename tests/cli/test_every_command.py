"""What all commands have in common: --json, documentation, completion."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from command_for_tests import COMMAND, mathtune
from mathtune.cli.main import COMMANDS, EXIT_CODES, cli

WITHOUT_RESULT = {"completion", "ui"}
"""Commands that print no result: one prints a script, one serves a page."""

DOCUMENT = Path(__file__).parents[2] / "docs" / "terminal.md"


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield every command and subcommand with its whole name."""
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from ((f"{name} {each}", sub) for each, sub in command.commands.items())
        else:
            yield name, command


def test_every_command_that_prints_a_result_has_json_and_its_object_is_documented() -> None:
    found = dict(commands())
    rows = re.findall(r"^\| (`.*?) \|", DOCUMENT.read_text("utf-8"), re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`(.*?)`", row)}
    assert len(found) > len(COMMANDS)
    for name, command in found.items():
        flags = {flag for parameter in command.params for flag in parameter.opts}
        assert ("--json" in flags) is (name not in WITHOUT_RESULT), name
        if name not in WITHOUT_RESULT:
            assert name in documented, f"docs/terminal.md has no row for {name} --json"


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (["recipes"], {"recipes"}),
        (["recipes", "demo"], {"name", "recipe"}),
        (["recipes", "--knobs"], {"knobs"}),
        (["models", "list"], {"models"}),
        (["validate", "demo"], {"valid", "said", "recipe"}),
        (["runs"], {"root", "runs"}),
    ],
)
def test_the_last_line_is_one_object(arguments: list[str], keys: set[str], tmp_path: Path) -> None:
    done = mathtune(*arguments, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout.splitlines()[-1])) == keys


def test_exit_codes_are_in_the_help_and_in_the_document(tmp_path: Path) -> None:
    shown = mathtune("--help", cwd=tmp_path).stdout
    text = DOCUMENT.read_text("utf-8")
    for code, meaning in EXIT_CODES.items():
        assert f"  {code} " in shown and meaning[:20] in shown
        assert f"| {code} |" in text


def completed(*arguments: str, incomplete: str) -> list[tuple[str, str]]:
    found = ShellComplete(cli, {}, "mathtune", "_MATHTUNE_COMPLETE")
    items = found.get_completions(list(arguments), incomplete)
    return [(item.value, item.type) for item in items]


@pytest.mark.parametrize(
    ("arguments", "incomplete", "expected"),
    [
        ([], "com", ["compare", "completion"]),
        (["run"], "grp", ["grpo-demo"]),
        (["run", "demo"], "train.learning_", ["train.learning_rate="]),
        (["train", "demo"], "train.objective=gr", ["train.objective=grpo"]),
        (["eval", "tiny-base"], "eval.calc", ["eval.calculator="]),
        (["run", "demo", "seed=1", "train.objective", "="], "gr", ["grpo"]),  # as bash cuts it
        (["run", "demo", "eval.calculator"], "=", ["true", "false"]),
        (["chat"], "tiny", ["tiny-base"]),
        (["runs"], "--so", ["--sort"]),
    ],
)
def test_names_knobs_and_values_complete(
    arguments: list[str], incomplete: str, expected: list[str]
) -> None:
    assert completed(*arguments, incomplete=incomplete) == [(each, "plain") for each in expected]


def test_what_is_no_name_completes_as_a_path() -> None:
    assert completed("run", incomplete="./my") == [("./my", "file")]
    assert completed("run", "demo", incomplete="data.train=fi") == [("fi", "file")]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str, tmp_path: Path) -> None:
    done = mathtune("completion", shell, cwd=tmp_path)
    assert done.returncode == 0 and f"_MATHTUNE_COMPLETE={shell}_complete" in done.stdout


def test_bash_completes_with_the_script(tmp_path: Path) -> None:
    script = mathtune("completion", "bash", cwd=tmp_path).stdout
    asked = (
        f'compopt() {{ echo "compopt $*"; }}\n{script}\n'
        "COMP_WORDS=(mathtune run demo train.learning_r) COMP_CWORD=3\n"
        f'_mathtune_completion {COMMAND}\necho "${{COMPREPLY[@]}}"\n'
    )
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["compopt", "-o", "nospace", "train.learning_rate="], done
