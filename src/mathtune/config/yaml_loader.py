"""YAML of bounded size: through aliases, ten lines of text can expand to a billion values.

Only ``true`` and ``false`` are booleans, as in YAML 1.2: ``eval_strategy: no`` is a word.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

MAX_VALUES = 10_000
"""Most values in a recipe with its aliases expanded; ours have about 100."""


class TooLarge(yaml.MarkedYAMLError):
    """A text with more values than allowed."""


_BOOL = "tag:yaml.org,2002:bool"


class BoundedLoader(yaml.SafeLoader):
    """Refuses a text of more than ``MAX_VALUES``, with aliases (``*name``) expanded."""

    _composed = 0

    def get_single_node(self) -> Any:
        """Return the root node; reading stops where the text is too large.

        Raises:
            TooLarge: It is.
        """
        node = super().get_single_node()
        if node is not None:
            _size(node, {})
        return node

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Return the next node; counted here, so that a long text is not read to its end.

        Raises:
            TooLarge: It is one too many.
        """
        self._composed += 1
        if self._composed > MAX_VALUES:
            raise TooLarge(
                problem=f"it holds more than {MAX_VALUES:,} values, the most a recipe may have",
                problem_mark=parent.start_mark if parent is not None else None,
            )
        return super().compose_node(parent, index)


# A switch still takes yes, no, on and off, which pydantic reads.
BoundedLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
BoundedLoader.add_implicit_resolver(
    _BOOL, re.compile("(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def read_yaml(text: str) -> Any:
    """Return the value of a YAML text.

    Raises:
        yaml.YAMLError: It is not valid YAML.
        TooLarge: It is larger than ``BoundedLoader`` takes.
    """
    return yaml.load(text, Loader=BoundedLoader)


def _size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Return how many values a node expands to; a shared node is counted once, added each time."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    known = sizes.get(id(node))
    if known == 0:
        raise TooLarge(
            problem="an alias (*) is inside what it refers to", problem_mark=node.start_mark
        )
    if known is not None:
        return known
    sizes[id(node)] = 0
    children = node.value
    if isinstance(node, yaml.MappingNode):
        children = [child for pair in children for child in pair]
    size = 1 + sum(_size(child, sizes) for child in children)
    if size > MAX_VALUES:
        raise TooLarge(
            problem=f"with its aliases (*) expanded it holds {size:,} values, and at most "
            f"{MAX_VALUES:,} are allowed",
            problem_mark=node.start_mark,
        )
    sizes[id(node)] = size
    return size
