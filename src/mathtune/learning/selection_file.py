"""A selection as a training source: ``FILE``, and ``FILE.provenance.yaml`` on where it came from.

``FILE`` is an ordinary file of solved problems (``data.train=FILE``). The other one records the
samples' fingerprints, the models that wrote them with their licences, the rules and every count.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mathtune
from mathtune.config.schema import SelectConfig, SourceConfig
from mathtune.errors import ConfigError, DataError
from mathtune.learning.held_out import check_not_test, known_test_questions
from mathtune.learning.select import Selection, select
from mathtune.learning.sources import read_samples
from mathtune.problems.pool import listed
from mathtune.storage import replace_file, write_text

log = logging.getLogger(__name__)


def provenance_path(output: Path) -> Path:
    """Return the file next to a selection."""
    return output.with_name(output.name + ".provenance.yaml")


def select_files(
    paths: Sequence[Path],
    output: Path,
    rules: SelectConfig,
    *,
    allow_test: bool = False,
    trained_on: Sequence[SourceConfig] = (),
) -> Selection:
    """Select from sample files, write the selection and its provenance, and return the selection.

    The same samples and rules give the same files, byte for byte.

    Args:
        paths: Sample files, or run folders of ``mathtune sample``.
        output: The JSONL file to write; an earlier one is replaced.
        rules: What to keep.
        allow_test: Take samples of test problems.
        trained_on: Sources of training problems; questions of their sets are no test questions.

    Raises:
        ConfigError: ``output`` does not end in ``.jsonl``, or is one of the sample files.
        DataError: Samples cannot be read, are of a test split, or none is left.
        DiskError: It could not be written.
    """
    if output.suffix != ".jsonl":
        raise ConfigError(f"--out {output} does not end in .jsonl, as a training source must")
    files = read_samples(paths)
    if any(file.path.resolve() == output.resolve() for file in files):
        raise ConfigError(f"--out {output} is one of the sample files; give another name")
    of_test = check_not_test(files, allow_test=allow_test)
    known = {} if allow_test else known_test_questions(trained_on)
    if known:
        names = ", ".join(dict.fromkeys(known.values()))
        log.info(f"questions are checked against the test sets on this machine: {names}")
    found = select((row for file in files for row in file.rows), rules, known)
    if not found.rows:
        raise DataError(
            f"none of {found.samples:,} samples is left ({listed(found.dropped)}); sample more, "
            "or problems that the model solves at times"
        )
    models = [file.describe() for file in files]
    for name in dict.fromkeys(str(each["model"]) for each in models if not each["license"]):
        log.info(
            f"the licence of {name} is not known; some forbid to train others on a model's "
            "answers: check it, and note it with --license when sampling"
        )
    lines = [(json.dumps(row, ensure_ascii=False) + "\n").encode() for row in found.rows]
    replace_file(output, lines)
    write_text(provenance_path(output), _as_yaml(_provenance(found, rules, models, lines, of_test)))
    return found


def _provenance(
    found: Selection,
    rules: SelectConfig,
    models: Sequence[dict[str, Any]],
    lines: Sequence[bytes],
    of_test: bool,
) -> dict[str, Any]:
    return {
        "mathtune": mathtune.__version__,
        "sha256": hashlib.sha256(b"".join(lines)).hexdigest(),
        "rows": len(found.rows),
        "kept": found.kept,
        "gold": found.gold,
        "problems": found.problems,
        "problems_with_a_sample_kept": found.learnable,
        "dropped": dict(found.dropped),
        "gold_dropped": dict(found.gold_dropped),
        "rules": rules.model_dump(),
        "of_test_problems": of_test,
        "samples": list(models),
    }


def _as_yaml(content: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
