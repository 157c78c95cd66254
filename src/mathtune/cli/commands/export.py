"""``mathtune export``."""

from __future__ import annotations

from pathlib import Path

import click

from mathtune.cli.common import echo, print_json

TARGETS = ("merged", "gguf", "ollama", "hub", "adapter")
TYPES = ("f16", "bf16", "f32", "q8_0", "q4_0", "q6_k", "q5_k_m", "q4_k_m")


@click.command("export")
@click.argument("given", metavar="RUN_OR_MODEL_DIR", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--to", required=True, metavar="|".join(TARGETS), help="What to make of the model.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="File (gguf) or folder; default: in the run folder, or next to the model.",
)
@click.option(
    "--type",
    "kind",
    default="f16",
    metavar="|".join(TYPES),
    help="Type of the weights in a GGUF file; default: f16.",
)
@click.option(
    "--dtype",
    default="auto",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    help="Dtype of merged weights; auto: the one the adapter was trained in.",
)
@click.option("--repo", metavar="OWNER/NAME", help="Repository on the hub, made if necessary.")
@click.option("--public", is_flag=True, help="Let everybody see the repository; else private.")
@click.option("--overwrite", is_flag=True, help="Replace an output that exists.")
@click.option(
    "--data",
    multiple=True,
    help="Problems to check with; default: the run's test set, else generated problems.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help="How many problems to check with; default: 50 for merged, else 20.",
)
@click.option("--style", help="Prompt style; default: the run's, else qa.")
@click.option("--load-in-4bit", is_flag=True, help="For a QLoRA adapter trained elsewhere.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object.")
def command(
    given: Path,
    overrides: tuple[str, ...],
    to: str,
    output: Path | None,
    kind: str,
    dtype: str,
    repo: str | None,
    public: bool,
    overwrite: bool,
    data: tuple[str, ...],
    limit: int | None,
    style: str | None,
    load_in_4bit: bool,
    as_json: bool,
) -> None:
    """Make a run's model usable elsewhere: merged, as GGUF, for Ollama, on the hub, as an adapter.

    What is made must answer problems as the model does, or it is not written. A GGUF file is
    compared in llama.cpp, which pip install 'mathtune[export]' brings.
    """
    from mathtune.exporting.targets import Options, export

    options = Options(
        output=output,
        type=kind,
        dtype=dtype,
        repo=repo,
        public=public,
        overwrite=overwrite,
        data=data,
        limit=limit,
        style=style,
        load_in_4bit=load_in_4bit,
        overrides=overrides,
    )
    found = export(given, to, options)
    if as_json:
        print_json(found.figures)
    else:
        echo(found.summary)
