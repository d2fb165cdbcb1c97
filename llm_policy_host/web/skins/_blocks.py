"""A stream's pieces as blocks, one open at a time: a text, a thought, a refusal, a tool call.

Some dialects open a block, add to it and close it before the next; others send the pieces of
several tool calls in turns. What comes while a call's arguments are still no JSON waits.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llm_policy_host.values import Response, StreamChunk

Kind = Literal["thinking", "text", "refusal", "tool"]
Act = Literal["open", "add", "close"]


@dataclass(slots=True)
class Block:
    """A part of an answer; `index` counts them as they are opened. A tool call has an id and a name."""

    kind: Kind
    call: int = 0
    id: str = ""
    name: str = ""
    index: int = -1
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Join what was said."""
        return "".join(self.pieces)

    @property
    def lane(self) -> tuple[str, int]:
        """Give what pieces of one block have in common."""
        return (self.kind, self.call)

    @property
    def is_complete(self) -> bool:
        """Whether nothing of it can be missing: of a tool call, that its arguments are JSON."""
        return self.kind != "tool" or _is_json(self.text)


Turn = tuple[Act, Block, str]


class Blocks:
    """Turns chunks into turns; `opened` holds every block so far, in order."""

    def __init__(self) -> None:
        self.opened: list[Block] = []
        self._open: Block | None = None
        self._waiting: dict[tuple[str, int], Block] = {}

    def feed(self, chunk: StreamChunk) -> Iterator[Turn]:
        """Take the next chunk."""
        for piece in _pieces(chunk):
            yield from self._take(piece)

    def finish(self) -> Iterator[Turn]:
        """Open and close what waits, and close what is open."""
        for block in self._waiting.values():
            yield from self._switch(block)
        self._waiting.clear()
        yield from self._close()

    def _take(self, piece: Block) -> Iterator[Turn]:
        if self._open is not None and self._open.lane == piece.lane:
            self._open.pieces += piece.pieces
            if piece.text:
                yield "add", self._open, piece.text
        elif self._must_wait(piece):
            self._wait(piece)
        elif piece.kind != "tool" or piece.name:
            yield from self._switch(piece)

    def _must_wait(self, piece: Block) -> bool:
        if self._waiting or (self._open is not None and not self._open.is_complete):
            return True
        is_new = all(block.lane != piece.lane for block in self.opened)
        return piece.kind == "tool" and not piece.name and is_new

    def _wait(self, piece: Block) -> None:
        block = self._waiting.setdefault(piece.lane, piece)
        if block is not piece:
            block.id, block.name = block.id or piece.id, block.name or piece.name
            block.pieces += piece.pieces

    def _switch(self, block: Block) -> Iterator[Turn]:
        yield from self._close()
        block.index = len(self.opened)
        self.opened.append(block)
        self._open = block
        yield "open", block, ""
        if block.text:
            yield "add", block, block.text

    def _close(self) -> Iterator[Turn]:
        if self._open is not None:
            block, self._open = self._open, None
            yield "close", block, ""


def blocks_of(response: Response) -> list[Block]:
    """Give the blocks of a whole answer."""
    said: list[tuple[Kind, str]] = [
        ("thinking", response.reasoning),
        ("text", response.text),
        ("refusal", response.refusal or ""),
    ]
    blocks = [Block(kind, pieces=[text]) for kind, text in said if text]
    blocks += [
        Block("tool", index, call.id, call.name, pieces=[call.arguments])
        for index, call in enumerate(response.tool_calls)
    ]
    for index, block in enumerate(blocks):
        block.index = index
    return blocks


def _pieces(chunk: StreamChunk) -> Iterator[Block]:
    if chunk.reasoning:
        yield Block("thinking", pieces=[chunk.reasoning])
    if chunk.text:
        yield Block("text", pieces=[chunk.text])
    if chunk.refusal:
        yield Block("refusal", pieces=[chunk.refusal])
    for call in chunk.tool_calls:
        yield Block("tool", call.index, call.id or "", call.name or "", pieces=[call.arguments])


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
