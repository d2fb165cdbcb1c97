"""A row of a table of settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .kinds import Kind


@dataclass(frozen=True, slots=True)
class Setting:
    """A row of the table of settings: its key under `host`, the kind of its value, what it means.

    `parts` are the keys of a record; `is_each` says that it is a record of such records, by name.
    """

    key: str
    kind: Kind
    about: str
    parts: tuple[Setting, ...] = ()
    is_each: bool = False
