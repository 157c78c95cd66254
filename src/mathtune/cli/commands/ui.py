"""``mathtune ui``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("ui")
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    show_default=True,
    help="Folder that holds the run folders; it need not exist yet.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65_535),
    help="Port on this machine's loopback address; default: 8765, or any that is free.",
)
@click.option("--browser/--no-browser", default=True, help="Open the page in your browser.")
def command(root: Path, port: int | None, browser: bool) -> None:
    """Show run folders on a web page, try models, prepare data, start and watch trainings.

    The page is for you alone: it is reached from this machine only, with the key in the address
    that is printed. Trainings that it starts are processes of their own and go on without it.
    """
    from mathtune.ui.server import serve

    try:
        serve(root, port=port, browser=browser)
    except KeyboardInterrupt:  # nothing to continue
        raise SystemExit(130) from None
