"""Answers as they are written: columns on a terminal, labelled blocks or JSON lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

from mathtune.cli.common import echo, print_json
from mathtune.conversation import Checked
from mathtune.generation.engine import StreamedCompletion
from mathtune.records import Outcome, StopReason
from mathtune.text.counts import counted
from mathtune.text.visible import visible

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table
    from rich.text import Text

States = Sequence[StreamedCompletion | None]
Show = Callable[[States], None]

CALCULATOR, FALSE, LABEL, QUIET = "cyan", "bold red", "bold", "dim"
"""Styles of what the calculator wrote, of a false equation, of a model's name, of remarks."""

FRAMES = 10
"""Times a second that the terminal is redrawn, however fast tokens come."""

Answered = tuple[str, StreamedCompletion, Checked | None]
"""A model's label, what it wrote, and the check of it; None where it was stopped."""


class Display(Protocol):
    """Where a chat is shown."""

    def say(self, text: str) -> None:
        """Show a remark that is not a model's."""
        ...

    def answering(self, labels: Sequence[str]) -> AbstractContextManager[Show]:
        """Return a block in which the function that it gives shows what is written so far."""
        ...

    def answered(self, question: str, answers: Sequence[Answered]) -> None:
        """Show the answers with their checks."""
        ...


class Columns:
    """On a terminal: a column for each model, redrawn while it writes."""

    def __init__(self) -> None:
        from mathtune.progress.console import SafeConsole

        self._console = SafeConsole()

    def say(self, text: str) -> None:
        """Show a remark."""
        self._console.print(text, style=QUIET)

    @contextmanager
    def answering(self, labels: Sequence[str]) -> Iterator[Show]:
        """Redraw the columns while the block runs; what is left at its end is removed."""
        from rich.live import Live

        writing = _Writing(labels)
        with Live(
            writing, console=self._console, refresh_per_second=FRAMES, transient=True
        ):  # fmt: skip
            yield writing.show

    def answered(self, question: str, answers: Sequence[Answered]) -> None:
        """Print the columns for good."""
        cells, remarks_of = [], []
        for _, item, checked in answers:
            cells.append(marked_text(item, checked))
            remarks_of.append(_quiet("\n".join(remarks(item, checked))))
        table = _columns([label for label, *_ in answers], cells)
        table.add_row(*remarks_of)
        self._console.print(table)


class Blocks:
    """Elsewhere: each answer at its end, and what is said about it on standard error."""

    def say(self, text: str) -> None:
        """Write a remark to standard error."""
        echo(text, err=True)

    def answering(self, labels: Sequence[str]) -> AbstractContextManager[Show]:
        """Show nothing yet."""
        return nullcontext(lambda states: None)

    def answered(self, question: str, answers: Sequence[Answered]) -> None:
        """Write the answers, below their labels if there are several."""
        for label, item, checked in answers:
            name = f"{label}: " if len(answers) > 1 else ""
            if name:
                echo(f"[{label}]")
            echo(item.text.strip())
            echo(name + "; ".join(remarks(item, checked)), err=True)


class JsonLines(Blocks):
    """One JSON object a question; ``docs/terminal.md`` describes it."""

    def answered(self, question: str, answers: Sequence[Answered]) -> None:
        """Write the object."""
        print_json({"question": question, "answers": [_figures(*each) for each in answers]})


class _Writing:
    """What is written so far, as much of its end as the terminal is high."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = labels
        self._states: States = [None] * len(labels)

    def show(self, states: States) -> None:
        """Keep the state that the next redrawing shows."""
        self._states = states

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        height = max(1, console.size.height - 3)
        width = max(1, options.max_width // len(self._labels) - 2)
        cells = []
        for item in self._states:
            if item is None:
                cells.append(Text("…", style=QUIET))
                continue
            lines = marked_text(_end_of(item, height * width)).wrap(console, width)
            cells.append(Text("\n").join(lines[-height:]))
        yield _columns(self._labels, cells)


def _end_of(item: StreamedCompletion, most: int) -> StreamedCompletion:
    """Return the end of a text: redrawing all of a long one ten times a second takes too long."""
    cut = max(0, len(item.text) - most)
    spans = [(max(0, start - cut), end - cut) for start, end in item.inserted if end > cut]
    return StreamedCompletion(item.text[cut:], tuple(spans))


def marked_text(item: StreamedCompletion, checked: Checked | None = None) -> Text:
    """Return an answer to show: the calculator's part and false equations marked, escapes inert."""
    from rich.text import Text

    text, styles = item.text, [(start, end, CALCULATOR) for start, end in item.inserted]
    notes = {}
    for equation, exact in checked.false if checked is not None else ():
        styles.append((equation.start, equation.end, FALSE))
        notes[equation.end] = f" ✗ {exact}"
    cuts = sorted({0, len(text), *(at for start, end, _ in styles for at in (start, end))})
    shown = Text()
    for start, end in pairwise(cuts):
        # Of two marks the later one counts: a false equation, also where the calculator wrote.
        style = [s for low, high, s in styles if low <= start and end <= high][-1:]
        shown.append(visible(text[start:end]), style=style[0] if style else "")
        if end in notes:
            shown.append(notes[end], style=FALSE)
    while shown.plain[:1].isspace():  # the prompt ends where a space belongs
        shown = shown[1:]
    shown.rstrip()
    return shown


def remarks(item: StreamedCompletion, checked: Checked | None) -> list[str]:
    """Return what is to be said about an answer: verdict, steps, the calculator's part."""
    if checked is None or item.completion is None:
        return ["stopped"]
    return [text for text in (
        _result(checked), _ending(item.completion.stop_reason, len(item.completion.ids)),
        _steps(checked), _calculator(item),
    ) if text]  # fmt: skip


def _result(checked: Checked) -> str:
    grade = checked.grade
    if grade is None:
        return "no answer found" if checked.answer is None else f"answer {checked.answer}"
    if grade.outcome is Outcome.CORRECT:
        return f"right: {grade.reason}"
    return f"{grade.outcome.value.replace('_', ' ')}: {grade.reason}"


def _ending(reason: StopReason, tokens: int) -> str:
    if reason is StopReason.LENGTH:
        return f"cut off after {counted(tokens, 'token')}"
    return "stopped, as it repeated itself" if reason is StopReason.REPETITION else ""


def _steps(checked: Checked) -> str:
    count, false = len(checked.equations), checked.false
    unread = f", {checked.unread} more not read" if checked.unread else ""
    if not count:
        return f"no equation to check{unread}"
    if not false:
        return f"{counted(count, 'equation')} checked, none false{unread}"
    wrong = ", ".join(f"{checked.text_of(equation)} (is {exact})" for equation, exact in false)
    return f"{len(false)} of {counted(count, 'equation')} false: {wrong}{unread}"


def _calculator(item: StreamedCompletion) -> str:
    if not item.inserted:
        return ""
    corrected = item.completion.corrected_tokens if item.completion else None
    other = f", {counted(corrected, 'token')} other than the model's" if corrected else ""
    return f"the calculator wrote {counted(len(item.inserted), 'result')}{other}"


def _figures(label: str, item: StreamedCompletion, checked: Checked | None) -> dict[str, Any]:
    completion = item.completion
    if checked is None or completion is None:
        return {"label": label, "text": item.text.strip(), "stop_reason": None}
    grade = checked.grade
    return {
        "label": label,
        "text": completion.text.strip(),
        "stop_reason": completion.stop_reason.value,
        "tokens": len(completion.ids),
        "inserted_tokens": completion.inserted_tokens,
        "seconds": round(completion.seconds, 3),
        "answer": checked.answer,
        "equations": len(checked.equations),
        "false_equations": [
            {"text": checked.text_of(equation), "exact": exact} for equation, exact in checked.false
        ],
        "outcome": None if grade is None else grade.outcome.value,
        "reason": None if grade is None else grade.reason,
    }


def _columns(labels: Sequence[str], cells: Sequence[Text]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0), expand=len(labels) > 1)
    for _ in labels:
        table.add_column(ratio=1, overflow="fold")
    if len(labels) > 1:
        table.add_row(*(Text(visible(label), style=LABEL) for label in labels))
    table.add_row(*cells)
    return table


def _quiet(text: str) -> Text:
    from rich.text import Text

    return Text(visible(text), style=QUIET)
