"""The comments of a YAML document, and which key or item each of them is about."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .document import Place, Position
    from .key_order import At

_COMMENT = re.compile(r"#[^\n]*")


@dataclass(slots=True)
class Comments:
    """Comments by the path of what they stand above or behind; those below everything are the tail."""

    above: dict[At, list[str]] = field(default_factory=lambda: defaultdict(list))
    behind: dict[At, str] = field(default_factory=dict)
    tail: list[str] = field(default_factory=list)

    def is_below(self, at: At) -> bool:
        """Whether some comment is about a part of what stands at a path."""
        return any(len(key) > len(at) and key[: len(at)] == at for key in (*self.above, *self.behind))

    def texts(self) -> list[str]:
        """Give every comment, in byte order."""
        return sorted(
            [*(each for texts in self.above.values() for each in texts), *self.behind.values(), *self.tail]
        )


def read_comments(text: str, root: Place) -> Comments:
    """Give each comment to the key or item that it stands behind, else to the next one."""
    comments = Comments()
    entries = sorted(_entries(root, ()), key=lambda entry: (entry[0], len(entry[1])))
    for line, told, is_alone in _found(text):
        same = [at for position, at in entries if position[0] == line]
        later = [at for position, at in entries if position[0] > line]
        if same and not is_alone and same[0] not in comments.behind:
            comments.behind[same[0]] = told
        elif later:
            comments.above[later[0]].append(told)
        else:
            comments.tail.append(told)
    return comments


def _entries(place: Place, at: At) -> Iterator[tuple[Position, At]]:
    """Give where each key and item of a document stands."""
    for key, position in place.keys.items():
        yield position, (*at, key)
        yield from _entries(place.parts[key], (*at, key))


def _found(text: str) -> Iterator[tuple[int, str, bool]]:
    """Give each comment with its line, and whether it stands there alone: all else is tokens."""
    end = 0
    for token in yaml.scan(text):
        yield from _between(text, end, token.start_mark.index)
        if isinstance(token, yaml.ScalarToken) and token.style in ("|", ">"):
            header = text[token.start_mark.index : text.find("\n", token.start_mark.index)]
            yield from _between(text, token.start_mark.index, token.start_mark.index + len(header))
        end = max(end, token.end_mark.index)
    yield from _between(text, end, len(text))


def _between(text: str, start: int, end: int) -> Iterator[tuple[int, str, bool]]:
    for match in _COMMENT.finditer(text, start, end):
        line_start = text.rfind("\n", 0, match.start()) + 1
        is_alone = not text[line_start : match.start()].strip()
        yield text.count("\n", 0, match.start()) + 1, match[0].rstrip(), is_alone
