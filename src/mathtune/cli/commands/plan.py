"""``mathtune plan``."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from mathtune.cli.common import json_option, print_json, recipe_arguments
from mathtune.planning.facts import USES, facts_of
from mathtune.text.counts import counted, percent

if TYPE_CHECKING:
    from rich.table import Table


@click.command("plan")
@recipe_arguments
@click.option("--memory", help="Memory of a device, for example 24GB; default: the device's own.")
@click.option("--device", help='For example "RTX 4090", H100, or cpu. Default: this machine.')
@click.option(
    "--devices", type=click.IntRange(min=1), help="Number of devices to train on, in one machine."
)
@click.option("--nodes", type=click.IntRange(min=1), help="Number of machines to train on.")
@click.option("--gpus", type=click.IntRange(min=1), help="Devices of each machine, with --nodes.")
@click.option(
    "--network",
    type=click.FloatRange(min=0, min_open=True),
    help="Gbit/s that a machine sends to the others; default: as the device's usual machines.",
)
@click.option("--trace", is_flag=True, help="Trace every layer instead of a few; takes minutes.")
@json_option()
def command(
    recipe: str,
    overrides: tuple[str, ...],
    memory: str | None,
    device: str | None,
    devices: int | None,
    nodes: int | None,
    gpus: int | None,
    network: float | None,
    trace: bool,
    as_json: bool,
) -> None:
    """Estimate what training RECIPE takes: memory and time, and what would help if it is too much.

    Only the model's configuration is read; no weights are needed.
    """
    if devices and (nodes or gpus):
        raise click.UsageError("--devices is for one machine; give --nodes and --gpus without it")
    if network and (nodes or 1) == 1:
        raise click.UsageError("--network is between machines; give --nodes as well")
    if not trace:  # a walk through a few layers leaves little to collect, and imports are many
        gc.disable()
        context = click.get_current_context()
        context.call_on_close(gc.enable)
        context.call_on_close(gc.freeze)  # called first, so that enabling collects nothing
    from mathtune import stages
    from mathtune.planning.gpu_specs import find_gpu, parse_bytes
    from mathtune.preflight import planner

    size = None if memory is None else parse_bytes(memory)
    if device is not None and device.lower() != "cpu":
        find_gpu(device)  # a typo is reported before anything is read

    changed = planner(recipe, overrides)
    plan = stages.plan(
        changed(()),
        device=device,
        memory=size,
        devices=devices or (nodes or 1) * (gpus or 1),
        nodes=nodes or 1,
        network=network and network * 1e9 / 8,
        changed=changed,
        trace=trace,
    )
    facts = facts_of(plan)
    if as_json:
        print_json(facts)
        return
    from mathtune.progress.console import SafeConsole

    console = SafeConsole(soft_wrap=True)
    for part in shown(facts):
        console.print(part)


def shown(facts: dict[str, Any]) -> Iterator[Table | str]:
    """Yield the plan as text for users."""
    yield from _parameters(facts)
    yield _memory_table(facts)
    yield _verdict(facts)
    if facts["remedies"]:
        yield _remedy_table(facts)
    yield from _time(facts)
    if facts["cluster"]:
        yield _cluster_table(facts)
    for assumption in facts["assumptions"]:
        yield f"assumed: {assumption}"


def _parameters(facts: dict[str, Any]) -> Iterator[str]:
    counts = facts["parameters"]
    total, trainable, packed = counts["total"], counts["trainable"], counts["total_packed"]
    if trainable == total:
        yield f"trains all {total:,} parameters ({_billions(total)})"
    else:
        base = total - trainable
        yield (
            f"trains {trainable:,} parameters on top of the model's {base:,} ({_billions(base)} "
            f"true): {percent(counts['trainable_share'], 2)} of all"
        )
    if packed != total:
        yield (
            f"or {percent(counts['trainable_share_packed'], 2)} of the {packed:,} "
            f"({_billions(packed)} packed) that a count of two 4-bit weights as one "
            "shows, as in published work"
        )
    yield f"{facts['dtype']}, {facts['dtype_reason']}"


_MOMENTS = {"backward": "in the backward pass", "optimiser step": "in the optimiser step"}


def _memory_table(facts: dict[str, Any]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    memory, many = facts["memory"], facts["devices"] > 1
    table = Table(
        title=f"memory on {'each ' if many else ''}{facts['device']}{', with DDP' if many else ''}",
        caption=f"in GB of 2^30 bytes, at the peak: {_MOMENTS[memory['moment']]}",
        box=SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        min_width=60,
    )
    table.add_column("")
    table.add_column("GB", justify="right")
    for key, size in memory["bytes"].items():
        table.add_row(USES[key], _gb(size))
    table.add_section()
    table.add_row("peak", _gb(memory["peak"]))
    if memory["sampling_peak"]:
        table.add_row("while sampling", _gb(memory["sampling_peak"]))
    if memory["available"] is not None:
        table.add_row("available", _gb(memory["available"]))
    return table


def _verdict(facts: dict[str, Any]) -> str:
    memory = facts["memory"]
    text = {
        None: "no memory size given to compare with",
        True: "it fits",
        False: "it does not fit",
    }[facts["fits"]]
    if memory["pageable"]:
        text += f"; {_gb(memory['pageable'])} GB of it can be paged to the host's memory"
    return text


def _remedy_table(facts: dict[str, Any]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title="each estimated on its own", box=SIMPLE_HEAD, title_justify="left")
    table.add_column("with", overflow="fold")
    table.add_column("peak, GB", justify="right")
    table.add_column("")
    for remedy in facts["remedies"]:
        fits = "fits" if remedy["fits"] else "does not fit"
        table.add_row(remedy["change"], _gb(remedy["peak"]), fits)
    return table


def _cluster_table(facts: dict[str, Any]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from mathtune.report import wording

    cluster = facts["cluster"]
    machines, devices = counted(cluster["nodes"], "machine"), counted(cluster["gpus"], "device")
    table = Table(
        title=f"{machines} with {devices} each",
        caption="a rank is one device; usual times of training alone, --json has best and worst",
        box=SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("with")
    for name in ("GB a rank", "", "GB sent a step", "sending", "training"):
        table.add_column(name, justify="right")
    for each in cluster["layouts"]:
        fits = {None: "", True: "fits", False: "does not fit"}[each["fits"]]
        times = (
            wording.estimated_duration(seconds["usual"]) if seconds else "unknown"
            for seconds in (each["communicating"], each["seconds"])
        )
        sent = f"{each['bytes_a_step'] / 2**30:,.2f}"
        table.add_row(each["name"], _gb(each["peak"]), fits, sent, *times)
    return table


def _time(facts: dict[str, Any]) -> Iterator[str]:
    from mathtune.report import wording

    work, seconds, sampling = facts["work"], facts["seconds"], facts["sampling"]
    yield (
        f"{counted(work['steps'], 'step')}, {counted(work['examples'], work['unit'])}; "
        f"{'on each device ' if facts['devices'] > 1 else ''}{work['tokens_a_device']:,} tokens "
        f"with padding, {counted(work['micro_batches_a_device'], 'micro-batch', 'micro-batches')}, "
        f"{work['flops_a_device']:.2e} FLOP"
    )
    if seconds is None:
        yield "no time without a device: name one with --device"
        return
    times = (wording.estimated_duration(seconds[key]) for key in ("usual", "best", "worst"))
    usual, best, worst = times
    how = "measured" if facts["rate_measured"] else "published"
    yield (
        f"training takes about {usual} ({best} to {worst}), at the usual share of the {how} "
        f"{facts['rate'] / 1e12:.3g} TFLOP/s; measuring and saving are not included"
    )
    if sampling is None:
        return
    a, low, high = (
        wording.estimated_duration(sampling["seconds"][key]) for key in ("usual", "best", "worst")
    )
    share = sampling["seconds"]["usual"] / (sampling["seconds"]["usual"] + seconds["usual"])
    yield (
        f"sampling {counted(sampling['answers_a_device'], 'answer')} "
        f"({sampling['tokens_a_device']:,} tokens, {sampling['rows']} answers at a time) takes "
        f"about {a} ({low} to {high}), {percent(share)} of both"
    )


def _billions(count: int) -> str:
    return f"{count / 1e9:.2f} B" if count >= 1e9 else f"{count / 1e6:.1f} M"


def _gb(size: int) -> str:
    return f"{size / 2**30:,.2f}"
