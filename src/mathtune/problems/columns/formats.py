"""Formats of data sets, as one table: how each is recognised, and which column is what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mathtune.errors import DataError, did_you_mean
from mathtune.problems.columns.cells import as_text, has, is_chat, look_up
from mathtune.problems.files.row import SourceRow, listed
from mathtune.problems.known_datasets import Columns

Kind = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return bool(as_text(value)) and not is_chat(value)


TEXT, CHAT = _is_text, is_chat


@dataclass(frozen=True, slots=True)
class Format:
    """One format.

    Attributes:
        name: For the line that says how a source was read.
        needs: Columns that identify it, each with what it holds.
        columns: Which column is what.
    """

    name: str
    needs: Mapping[str, Kind]
    columns: Columns

    def fits(self, values: Mapping[str, Any]) -> bool:
        """Return whether a row has everything that the format needs."""
        return all(path.partition(".")[0] in values for path in self.needs) and all(
            kind(look_up(values, path)) for path, kind in self.needs.items()
        )


def _columns(question: str, answer: str | None, gold: str | None, type_: str = "type") -> Columns:
    return Columns((question,), answer, gold, type_, optional=frozenset({"gold", "type"}))


_VERL = {"prompt": CHAT, "reward_model.ground_truth": TEXT}
_TRUTH = "reward_model.ground_truth"

FORMATS = (
    Format(
        "verl, with the plain question and solution in extra_info",
        {**_VERL, "extra_info.question": TEXT, "extra_info.answer": TEXT},
        _columns("extra_info.question", "extra_info.answer", _TRUTH),
    ),
    Format("verl", _VERL, _columns("prompt.user", None, _TRUTH)),
    Format(
        "OpenMathInstruct-2",
        {"problem": TEXT, "generated_solution": TEXT, "expected_answer": TEXT},
        _columns("problem", "generated_solution", "expected_answer", "problem_source"),
    ),
    Format(
        "OpenMathInstruct-1",
        {"question": TEXT, "generated_solution": TEXT, "expected_answer": TEXT},
        _columns("question", "generated_solution", "expected_answer", "dataset"),
    ),
    Format("MetaMathQA", {"query": TEXT, "response": TEXT}, _columns("query", "response", "gold")),
    *(
        Format(
            f"{question}, solution and answer",
            {question: TEXT, "solution": TEXT, "answer": TEXT},
            _columns(question, "solution", "answer"),
        )
        for question in ("problem", "question")
    ),
    Format(
        "question and answer", {"question": TEXT, "answer": TEXT},
        _columns("question", "answer", "gold"),
    ),
    Format(
        "question and gold", {"question": TEXT, "gold": TEXT}, _columns("question", None, "gold")
    ),
    Format(
        "problem and solution", {"problem": TEXT, "solution": TEXT},
        _columns("problem", "solution", "gold"),
    ),
    Format("problem and answer", {"problem": TEXT, "answer": TEXT},
           _columns("problem", "answer", "gold")),
    Format(
        "conversational prompt and completion", {"prompt": CHAT, "completion": CHAT},
        _columns("prompt.user", "completion.assistant", "gold"),
    ),
    Format(
        "prompt and completion", {"prompt": TEXT, "completion": TEXT},
        _columns("prompt", "completion", "gold"),
    ),
    *(
        Format(f"prompt and {answer}", {"prompt": kind, answer: TEXT},
               _columns(prompt, answer, "gold"))
        for answer in ("solution", "answer")
        for kind, prompt in ((TEXT, "prompt"), (CHAT, "prompt.user"))
    ),
    *(
        Format(name, {column: CHAT}, _columns(f"{column}.user", f"{column}.assistant", "gold"))
        for column, name in (
            ("messages", "messages"), ("conversations", "ShareGPT"), ("conversation", "ShareGPT"),
        )
    ),
    Format(
        "Alpaca", {"instruction": TEXT, "output": TEXT},
        Columns(
            ("instruction", "input"), "output", "gold", "type",
            optional=frozenset({"input", "gold", "type"}), separator="\n",
        ),
    ),
)  # fmt: skip
"""The first that fits is used, so specific formats come before the general ones they contain."""

_OWN = Columns(
    ("question",), "answer", "gold", "type", optional=frozenset({"answer", "gold", "type"})
)
_USUAL = {
    "question": ("prompt", "problem", "instruction", "input", "query"),
    "answer": (
        *("response", "solution", "output", "completion", "chosen", "gold", "final_answer"),
        "target",
    ),
}
"""Names that other sets use for a column: suggested in a message, never used silently."""


@dataclass(frozen=True, slots=True)
class ReadAs:
    """How a source is read: the name of its format, and which column is what."""

    name: str
    columns: Columns

    def sentence(self, first: SourceRow) -> str:
        """Return as text which columns are used for what, and which are not used."""
        columns, values = self.columns, first.values

        def there(*paths: str | None) -> list[str]:
            return [path for path in paths if path is not None and has(values, path)]

        used = {
            "question": there(*columns.question),
            "solution": there(columns.answer),
            "final answer": there(columns.gold),
            "type": there(columns.type),
        }
        said = [f"{what} from {' and '.join(paths)}" for what, paths in used.items() if paths]
        if not used["final answer"]:
            said.insert(2, "final answer from the end of the solution")
        heads = {path.partition(".")[0] for paths in used.values() for path in paths}
        heads |= {path for paths in used.values() for path in paths}
        unused = [str(name) for name in values if name not in heads]
        rest = f"; not used: {listed(unused)}" if unused else ""
        return f"read as {self.name}: {', '.join(said)}{rest}"


def recognise(rows: Sequence[SourceRow], fields: Mapping[Any, str]) -> ReadAs:
    """Recognise the format of a source by its first rows; what a recipe maps comes first.

    Raises:
        DataError: Question and solution cannot be identified, a mapped column is missing, or the
            questions have answer options that would be left out.
    """
    whole = {"question"} < {*fields} and bool({"answer", "gold"} & {*fields})
    for row in rows if not whole else ():
        found = next((each for each in FORMATS if each.fits(row.values)), None)
        if found is not None:
            columns = with_fields(found.columns, fields)
            _check_mapped(row, fields)
            _check_options(row, fields)
            return ReadAs(f"{found.name}, with fields" if fields else found.name, columns)
    first = rows[0]
    _check_by_row(first)
    wanted: dict[str, str] = {"question": "question", **fields}
    if not {"answer", "gold"} & {*fields, *first.values}:
        wanted["answer"] = "answer"
    missing = {field: column for field, column in wanted.items() if not has(first.values, column)}
    if missing:
        raise _missing(first, missing)
    columns = replace(with_fields(_OWN, fields), optional=_OWN.optional - {*fields})
    _check_options(first, fields)
    return ReadAs("mapped by fields" if fields else "question and answer", columns)


def with_fields(columns: Columns, fields: Mapping[Any, str]) -> Columns:
    """Return the columns, replaced where a recipe maps them itself."""
    changes: dict[str, Any] = dict(fields)
    if "question" in changes:
        changes["question"] = (changes["question"],)
    return replace(columns, **changes)


def _check_by_row(row: SourceRow) -> None:
    """Refuse a table written column by column, as pandas does by default."""
    columns = [value for value in row.values.values() if isinstance(value, Mapping) and value]
    if columns and all(str(key).isdecimal() for column in columns for key in column):
        raise DataError(
            f"{row.place} holds columns with numbered rows, not a row with columns; with pandas, "
            "write it with to_json(path, orient='records', lines=True)"
        )


def _check_mapped(row: SourceRow, fields: Mapping[Any, str]) -> None:
    missing = {field: column for field, column in fields.items() if not has(row.values, column)}
    if missing:
        raise _missing(row, missing)


def _check_options(row: SourceRow, fields: Mapping[Any, str]) -> None:
    """Refuse multiple choice: asked without its options, a question cannot be answered."""
    for name in ("choices", "options"):
        if "question" not in fields and isinstance(row.values.get(name), (list, Mapping)):
            raise DataError(
                f"{row.place} has answer options in column {name!r}, which would be left out of "
                "the question; write them into the text of the question, or set fields: {question: "
                "question} to ask without them"
            )


def _missing(row: SourceRow, wanted: Mapping[str, str]) -> DataError:
    names = [str(name) for name in row.values]
    columns = " and no column ".join(map(repr, wanted.values()))
    hint = did_you_mean(next(iter(wanted.values())), names) if len(wanted) == 1 else ""
    return DataError(
        f"{row.place} has no column {columns}{hint or '.'} Its columns: "
        f"{listed(names) or 'none'}. {_remedy(row, wanted, names)}"
    )


def _remedy(row: SourceRow, wanted: Mapping[str, str], names: Sequence[str]) -> str:
    """Return the remedy for the most likely kind of row."""
    for name, value in row.values.items():
        rows = isinstance(value, list) and all(isinstance(each, Mapping) for each in value)
        if rows and value and not is_chat(value) and len(row.values) < 5:
            return (
                f"Column {name!r} holds a list of {len(value):,} rows; write that list alone into "
                "the file"
            )
    if names == ["text"]:
        return "One text cannot be split into question and solution; put them in two columns"
    proposals = []
    for field, column in wanted.items():
        near = did_you_mean(column, names).split("'")[1:2]
        usual = [name for name in _USUAL.get(field, ()) if name in names]
        proposals.append(f"{field}: {(near or usual or ['…'])[0]}")
    return f"Map the columns, for example fields: {{{', '.join(proposals)}}}"
