"""The language server over its protocol: documents come in as they are typed, and are told of in turn."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lsprotocol import types
from pygls import uris
from pygls.lsp.server import LanguageServer

from .checking import Checked, check
from .neighbours import CONFIG, Neighbour
from .reader import Asked, Reader
from .text import Text

if TYPE_CHECKING:
    from collections.abc import Callable

    from pygls.workspace import TextDocument

    from .checking import Warn

Answer = TypeVar("Answer")

PAUSE_S = 0.15
"""How long typing must pause before a document is checked again."""

TRIGGERS = ("[", "{", ",", " ", '"', "-")


class _Server(LanguageServer):
    """Tells of its own errors by their kind alone: their words may hold what a document says."""

    def report_server_error(self, error: BaseException, source: object = None) -> None:
        """Tell that something failed here."""
        del source
        message = f"llm-policy: a mistake of the language server: {type(error).__name__}"
        self.window_show_message(types.ShowMessageParams(types.MessageType.Error, message))


class _Documents:
    """The open documents of one server: their checks under way, and what the last ones found."""

    def __init__(self, server: _Server, warn: Warn) -> None:
        self._server = server
        self._warn = warn
        self._checks: dict[str, asyncio.Task[None]] = {}
        self._checked: dict[str, Checked] = {}
        self._reader = Reader()
        # a config may run for seconds in its sandbox: what is asked at the cursor does not wait for it
        self._check_lane = ThreadPoolExecutor(1, "check")
        self._read_lane = ThreadPoolExecutor(1, "read")

    def changed(self, uri: str, pause_s: float) -> None:
        """Check a document after a pause; one under way is of a text that is no more."""
        self._forget_check(uri)
        task = asyncio.get_running_loop().create_task(self._check(uri, pause_s))
        self._checks[uri] = task
        task.add_done_callback(self._report)

    def closed(self, uri: str) -> None:
        """Forget a document, and clear what was told of it."""
        self._forget_check(uri)
        self._checked.pop(uri, None)
        self._reader.forget(uri)
        self._server.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, []))

    def close(self) -> None:
        """Check nothing more."""
        for uri in [*self._checks]:
            self._forget_check(uri)
        for lane in (self._check_lane, self._read_lane):
            lane.shutdown(wait=False, cancel_futures=True)

    async def complete(self, params: types.CompletionParams) -> types.CompletionList | None:
        """Say what may be typed."""
        return await self._ask(params.text_document.uri, params.position, self._reader.complete)

    async def hover(self, params: types.HoverParams) -> types.Hover | None:
        """Say what the word under the cursor means."""
        return await self._ask(params.text_document.uri, params.position, self._reader.hover)

    async def _ask(
        self, uri: str, position: types.Position, answer: Callable[..., Answer | None]
    ) -> Answer | None:
        document = self._open(uri)
        if document is None:
            return None
        asked = Asked(uri, _path(uri), self._text(document), position, self._beside(uri))
        checked = self._checked.get(uri, Checked())
        return await asyncio.get_running_loop().run_in_executor(self._read_lane, answer, asked, checked)

    async def _check(self, uri: str, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        document = self._open(uri)
        if document is None:
            return
        asked = (self._text(document), _path(uri), self._beside(uri), self._warn)
        loop = asyncio.get_running_loop()
        self._checked[uri] = await loop.run_in_executor(self._check_lane, check, *asked)
        found = types.PublishDiagnosticsParams(uri, self._checked[uri].diagnostics, document.version)
        self._server.text_document_publish_diagnostics(found)

    def _report(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._server.report_server_error(error)

    def _forget_check(self, uri: str) -> None:
        task = self._checks.pop(uri, None)
        if task is not None:
            task.cancel()

    def _open(self, uri: str) -> TextDocument | None:
        found: TextDocument | None = self._server.workspace.text_documents.get(uri)
        return found

    def _beside(self, uri: str) -> Neighbour:
        config = _path(uri).with_name(CONFIG)
        opened = self._open(uris.from_fs_path(str(config)) or "")
        return Neighbour(config, None if opened is None else opened.source)

    def _text(self, document: TextDocument) -> Text:
        return Text(document.source, document.position_codec.encoding or types.PositionEncodingKind.Utf16)


def make_server(version: str, warn: Warn) -> LanguageServer:
    """Make a language server with no documents yet; `warn` tells what is odd about a config."""
    server = _Server("llm-policy", version, types.TextDocumentSyncKind.Full)
    documents = _Documents(server, warn)
    feature = server.feature

    @feature(types.TEXT_DOCUMENT_DID_OPEN)
    def did_open(params: types.DidOpenTextDocumentParams) -> None:
        documents.changed(params.text_document.uri, 0)

    @feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def did_change(params: types.DidChangeTextDocumentParams) -> None:
        documents.changed(params.text_document.uri, PAUSE_S)

    @feature(types.TEXT_DOCUMENT_DID_SAVE)
    def did_save(params: types.DidSaveTextDocumentParams) -> None:
        documents.changed(params.text_document.uri, 0)

    @feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def did_close(params: types.DidCloseTextDocumentParams) -> None:
        documents.closed(params.text_document.uri)

    @feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions(trigger_characters=TRIGGERS))
    async def completion(params: types.CompletionParams) -> types.CompletionList | None:
        return await documents.complete(params)

    @feature(types.TEXT_DOCUMENT_HOVER)
    async def hover(params: types.HoverParams) -> types.Hover | None:
        return await documents.hover(params)

    @feature(types.SHUTDOWN)
    def shutdown(_params: None) -> None:
        documents.close()

    return server


def _path(uri: str) -> Path:
    """Give the file of a document; one that is nowhere yet is a config in the working directory."""
    return Path(uris.to_fs_path(uri) or "untitled.yaml")
