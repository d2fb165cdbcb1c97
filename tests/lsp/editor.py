"""An editor for tests: pygls' client of a real `llm-policy lsp`, over its standard streams."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from lsprotocol import types
from pygls import uris
from pygls.lsp.client import LanguageClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

COMMAND = ("-m", "llm_policy_host", "lsp")


class Editor(LanguageClient):
    """Opens documents, types into them, and keeps whatever the server sent."""

    def __init__(self) -> None:
        super().__init__("tests", "1")
        self.told: dict[str, list[types.PublishDiagnosticsParams]] = {}
        self.shown: list[str] = []
        self._news = asyncio.Event()

        def diagnosed(params: types.PublishDiagnosticsParams) -> None:
            self.told.setdefault(params.uri, []).append(params)
            self._news.set()

        def shown(params: types.ShowMessageParams) -> None:
            self.shown.append(params.message)

        self.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)(diagnosed)
        self.feature(types.WINDOW_SHOW_MESSAGE)(shown)

    def open(self, path: Path, text: str) -> str:
        """Open a document that need not be on disk."""
        uri = uris.from_fs_path(str(path)) or ""
        document = types.TextDocumentItem(uri, types.LanguageKind.Yaml, 1, text)
        self.text_document_did_open(types.DidOpenTextDocumentParams(document))
        return uri

    def type(self, uri: str, text: str, version: int = 2) -> None:
        """Replace a document's text."""
        change = types.TextDocumentContentChangeWholeDocument(text)
        document = types.VersionedTextDocumentIdentifier(version, uri)
        self.text_document_did_change(types.DidChangeTextDocumentParams(document, [change]))

    async def diagnostics(self, uri: str, version: int | None = 1) -> list[types.Diagnostic]:
        """Wait for what is told of a version of a document; of one that was closed, `None`."""
        async with asyncio.timeout(60):
            while not (told := self.told.get(uri)) or told[-1].version != version:
                self._news.clear()
                await self._news.wait()
        return list(told[-1].diagnostics)

    async def complete(self, uri: str, line: int, character: int) -> dict[str, types.CompletionItem]:
        """Ask what may be typed; by label."""
        document, position = types.TextDocumentIdentifier(uri), types.Position(line, character)
        found = await self.text_document_completion_async(types.CompletionParams(document, position))
        return (
            {} if not isinstance(found, types.CompletionList) else {item.label: item for item in found.items}
        )

    async def hover(self, uri: str, line: int, character: int) -> str:
        """Ask what stands there."""
        document, position = types.TextDocumentIdentifier(uri), types.Position(line, character)
        found = await self.text_document_hover_async(types.HoverParams(document, position))
        if found is None:
            return ""
        assert isinstance(found.contents, types.MarkupContent)
        return found.contents.value


@asynccontextmanager
async def editing(
    directory: Path, encodings: list[str] | None = None, **environment: str
) -> AsyncIterator[Editor]:
    """Start a server for an editor, and let it end as editors do."""
    editor = Editor()
    env = {**os.environ, **environment}
    await editor.start_io(sys.executable, *COMMAND, cwd=directory, env=env)
    general = types.GeneralClientCapabilities(position_encodings=encodings)
    capabilities = types.ClientCapabilities(general=general)
    await editor.initialize_async(
        types.InitializeParams(capabilities, root_uri=uris.from_fs_path(str(directory)))
    )
    editor.initialized(types.InitializedParams())
    try:
        yield editor
    finally:
        process = editor._server
        assert process is not None
        try:
            async with asyncio.timeout(20):
                await editor.shutdown_async(None)
                editor.exit(None)
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
        await editor.stop()  # type: ignore[no-untyped-call] # pygls' own


def at(text: str, mark: str = "|") -> tuple[str, int, int]:
    """Take a mark out of a text; give the text, and the line and character where it stood."""
    before, after = text.split(mark)
    return before + after, before.count("\n"), len(before) - before.rfind("\n") - 1
