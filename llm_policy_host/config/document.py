"""A config document: its data, and where in its file each part of it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llm_policy_host.errors import Problem

from .names import path_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llm_policy_host.core.child import Child
    from llm_policy_host.values import Plain

Position = tuple[int, int]
"""Line and column, both from 1."""


@dataclass(slots=True)
class Place:
    """Where a value stands, and below it its parts; `keys` holds where each key stands."""

    position: Position
    parts: dict[str | int, Place] = field(default_factory=dict)
    keys: dict[str | int, Position] = field(default_factory=dict)


@dataclass(slots=True)
class Document:
    """Plain data with places. A document with problems may hold only part of its data.

    A Lua config that holds functions stays in its `child`; `data` only shows it then.
    """

    file: str
    data: Plain
    root: Place
    problems: list[Problem] = field(default_factory=list)
    child: Child | None = None

    def report(
        self, at: Sequence[str | int], detail: str, *, near: str | None = None, key: bool = False
    ) -> None:
        """Note a mistake at a path; `key` says that the name is wrong, not the value."""
        self.problems.append(self.problem(at, detail, near=near, key=key))

    def problem(
        self, at: Sequence[str | int], detail: str, *, near: str | None = None, key: bool = False
    ) -> Problem:
        """Describe a mistake at a path."""
        line, column = self.locate(at, key=key)
        return Problem(self.file, line, column, path_text(at), detail, near)

    def locate(self, at: Sequence[str | int], *, key: bool = False) -> Position:
        """Find where a path stands; of a path that leads nowhere, the last part that exists."""
        place = self.root
        position = place.position
        for depth, step in enumerate(at, 1):
            if key and depth == len(at):
                return place.keys.get(step, position)
            below = place.parts.get(step)
            if below is None:
                return place.keys.get(step, position)
            place, position = below, below.position
        return position
