"""Write the table of word frequencies by which rewordings are weighed.

    python tools/count_words.py GSM8K_TRAIN.jsonl

Counts in how many of GSM8K's 7,473 training questions each stem occurs in lower case (a name does
not), and keeps those that occur in 3 or more. Run it again when ``stem`` changes.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path

from mathtune.problems.rewordings import content
from mathtune.problems.rewordings.word_forms import FUNCTION_WORDS, NUMBER_WORDS

TABLE = Path(content.__file__).with_name("word_counts.txt")
LEAST = 3


def main(path: Path) -> None:
    """Count, and write the table."""
    counts: Counter[str] = Counter()
    total = 0
    for line in path.read_text("utf-8").splitlines():
        words = re.findall(r"(?<![^\W\d_])[a-z]+", json.loads(line)["question"])
        total += 1
        counts.update(
            {
                content.stem(word)
                for word in words
                if len(word) > 1 and word not in FUNCTION_WORDS | NUMBER_WORDS
            }
        )
    kept = sorted((word, count) for word, count in counts.items() if count >= LEAST)
    rows = [str(total), *(f"{word} {count}" for word, count in kept)]
    TABLE.write_text("\n".join(rows) + "\n", "utf-8")
    print(f"{TABLE}: {len(kept):,} stems of {total:,} questions")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
