"""YAML that cannot grow: a text of ten lines can stand for a billion values through its aliases."""

from __future__ import annotations

from typing import Any

import yaml

MAX_VALUES = 10_000
"""Values a recipe may hold with its aliases written out; those in the package have about 100."""


class TooLarge(yaml.MarkedYAMLError):
    """A text of more values than are read."""


class BoundedLoader(yaml.SafeLoader):
    """Refuses a text of more than ``MAX_VALUES``, aliases (``*name``) counted as what they name."""

    _composed = 0

    def get_single_node(self) -> Any:
        """Return the root node, which is read no further where it is too large.

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
                problem=f"it holds more than {MAX_VALUES:,} values, and no more are read",
                problem_mark=parent.start_mark if parent is not None else None,
            )
        return super().compose_node(parent, index)


def read_yaml(text: str) -> Any:
    """Return what a YAML text holds.

    Raises:
        yaml.YAMLError: It is not YAML.
        TooLarge: It is larger than ``BoundedLoader`` takes.
    """
    return yaml.load(text, Loader=BoundedLoader)


def _size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Return how many values a node stands for; the same node is counted once and added often."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    known = sizes.get(id(node))
    if known == 0:
        raise TooLarge(
            problem="an alias (*) stands inside what it names", problem_mark=node.start_mark
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
            problem=f"with its aliases (*) written out it holds {size:,} values, and at most "
            f"{MAX_VALUES:,} are read",
            problem_mark=node.start_mark,
        )
    sizes[id(node)] = size
    return size
