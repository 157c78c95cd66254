"""``mathtune merge``."""

from __future__ import annotations

from pathlib import Path

import click

from mathtune.cli.common import echo, json_option, overrides_argument, print_json

ANSWER_TOKENS = 64  # logits of each are compared, a whole vocabulary per token


@click.command("merge")
@click.argument("source", metavar="ADAPTER_OR_RUN_DIR", type=click.Path(path_type=Path))
@overrides_argument
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Output folder; default: RUN_DIR/merged, or ADAPTER-merged.",
)
@click.option(
    "--dtype",
    default="auto",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    help="Dtype of the merged weights; auto: the one the adapter was trained in.",
)
@click.option(
    "--data",
    multiple=True,
    help="Problems to check with; default: the run's test set, else generated problems.",
)
@click.option(
    "--limit", default=8, type=click.IntRange(min=1), help="How many problems to check with."
)
@click.option("--style", help="Prompt style of the check; default: the run's, else qa.")
@click.option("--load-in-4bit", is_flag=True, help="For a QLoRA adapter trained elsewhere.")
@json_option()
def command(
    source: Path,
    overrides: tuple[str, ...],
    output: Path | None,
    dtype: str,
    data: tuple[str, ...],
    limit: int,
    style: str | None,
    load_in_4bit: bool,
    as_json: bool,
) -> None:
    """Merge an adapter into the exact base it was trained on, and check the result.

    A base that was held in 4 bits is dequantised first. The merged model is loaded from disk and
    must answer as the adapter does, or nothing is written.
    """
    from mathtune import stages
    from mathtune.config import as_override
    from mathtune.models.files import find_adapter
    from mathtune.preflight import Purpose, load

    adapter, recipe = find_adapter(source)
    generated = [{"generated": "problems", "n": limit}]
    given = {
        "model.name_or_path": str(adapter),
        "model.revision": None,
        **({"model.load_in_4bit": True, "adapter": {}} if load_in_4bit else {}),
        "data.max_test_samples": limit,
        "eval.max_new_tokens": ANSWER_TOKENS,
        **({"prompt.style": style} if style else {}),
        **({"data.test": list(data)} if data else {} if recipe else {"data.test": generated}),
    }
    options = [as_override(key, value) for key, value in given.items()]
    loaded = load(str(recipe or "gsm8k-eval"), [*options, *overrides], None, Purpose.CHAT)
    place = adapter.with_name("merged" if recipe else f"{adapter.absolute().name}-merged")
    figures = stages.merge(loaded, output or place, dtype)
    if as_json:
        print_json(figures)
        return
    check = figures["check"]
    ties = f", {check['ties']} diverge at a tie" if check["ties"] else ""
    echo(
        f"{figures['folder']}: {figures['parameters']:,} parameters in {figures['dtype']}, "
        f"{figures['bytes'] / 2**20:,.1f} MB\n"
        f"as the adapter: {check['same_answers']} of {check['problems']} greedy answers to the "
        f"token{ties}; logits differ by {check['max_logit_difference']:.2g} at most, "
        f"{check['relative_difference']:.1g} of their spread ({check['tolerance']:g} allowed)"
    )
