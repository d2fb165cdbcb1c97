"""The documentation's pages as data: their code blocks, and the links that leave them.

What stands after a block's language says what is done with it:

    file=NAME   written into the page's own directory; a YAML or Lua config is also read by the core
                (a Python file is for a later block to run, or for a client that is not here)
    refused     with `file`: the config is one that the core refuses
    run         run there: `sh` by bash, `python` by Python, `lua` by Lua 5.4 with the core on its path
    exit=N      with `run`: the exit code that is expected (0)
    output      equals what the block before it printed; a line or a word `...` stands for anything

A block without any of these is only parsed (`json`, `yaml`) or named in the tests' list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_FENCE = re.compile(r"```(.*)")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"#+ +(.*)")


@dataclass(frozen=True)
class Block:
    """A code block: its language, the words after it, its text and the line it starts at."""

    language: str
    words: tuple[str, ...]
    text: str
    line: int

    def value(self, name: str) -> str | None:
        """Give the value of a word `name=value`."""
        found = [word.partition("=")[2] for word in self.words if word.startswith(f"{name}=")]
        return found[0] if found else None


@dataclass
class Page:
    """A page of the documentation."""

    path: Path
    blocks: list[Block] = field(default_factory=list)
    prose: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its path from the root of the repository."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def links(self) -> list[str]:
        """Where its prose leads to."""
        return [target for line in self.prose for target in _LINK.findall(line)]

    @property
    def anchors(self) -> set[str]:
        """What links within it may name: its headings."""
        titles = (match[1] for match in map(_HEADING.fullmatch, self.prose) if match)
        return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def read_page(path: Path) -> Page:
    """Read a page."""
    page, opened = Page(path), None
    text: list[str] = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        fence = _FENCE.fullmatch(line)
        if opened is None and fence is None:
            page.prose.append(line)
        elif opened is None and fence is not None:
            opened, text = (number, fence[1].split()), []
        elif opened is not None and line == "```":
            start, (language, *words) = opened[0], opened[1] or [""]
            page.blocks.append(Block(language, tuple(words), "".join(f"{each}\n" for each in text), start))
            opened = None
        else:
            text.append(line)
    if opened is not None:
        raise ValueError(f"{path}: the block of line {opened[0]} has no end")
    return page


def pages() -> list[Page]:
    """Read the README and every page below docs/."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [read_page(path) for path in paths]
