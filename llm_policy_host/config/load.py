"""A config file read into what the core gets and what the host keeps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_policy_host.core.vm import available_runtimes
from llm_policy_host.errors import Problem

from .auths import read_auths
from .document import Document, Place
from .lua_file import parse_lua
from .policy_files import with_terms
from .settings import HOST_KEYS, Settings, read_settings
from .sources import check_sources
from .yaml_file import parse_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_BYTES = 4 * 1024 * 1024
"""A config beyond this is a mistake, not a config."""


@dataclass(frozen=True, slots=True)
class Config:
    """A config as read. It may have problems: `document.problems` says so."""

    document: Document
    directory: Path
    core: Mapping[str, Any]
    settings: Settings
    auths: Mapping[str, Mapping[str, Any]]

    @property
    def is_readable(self) -> bool:
        """Whether there is data that the core could check further."""
        return isinstance(self.document.data, dict) and bool(self.document.data)


def load_config(path: Path) -> Config:
    """Read a YAML or Lua file; mistakes are noted in its document, not raised."""
    return read_config(read_document(path), path.parent)


def read_config(document: Document, directory: Path) -> Config:
    """Split a document into the core's part and the host's."""
    if not isinstance(document.data, dict):
        if not document.problems:
            document.report((), "must be a record")
        document.data = {}
    settings = read_settings(document, available_runtimes())
    check_sources(document, settings.sources)
    core = {key: _present(value) for key, value in _present(document.data).items() if key not in HOST_KEYS}
    if isinstance(core.get("profiles"), dict):
        core["profiles"] = with_terms(document, core["profiles"], directory)
    return Config(document, directory, core, settings, read_auths(document))


def _present(value: Any) -> Any:  # noqa: ANN401 - any plain value
    """Leave out of a record what is null: it is absent, as it is to the core."""
    if not isinstance(value, dict):
        return value
    return {key: item for key, item in value.items() if item is not None}


def config_from_data(data: Mapping[str, Any], directory: Path | None = None) -> Config:
    """Take a config that a program made; its places are all the start of `<config>`."""
    return read_config(Document("<config>", dict(data), Place((1, 1))), directory or Path())


def read_document(path: Path) -> Document:
    """Read a YAML or Lua file as a document; mistakes are noted in it."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        return _unreadable(str(path), (error.strerror or "cannot be read").lower())
    return document_of(text, path)


def document_of(text: bytes, path: Path) -> Document:
    """Read the text of a YAML or Lua file, wherever it comes from; mistakes are noted in it."""
    name = str(path)
    if len(text) > MAX_BYTES:
        return _unreadable(name, f"larger than {MAX_BYTES} bytes")
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        return _unreadable(name, "not UTF-8", line)
    return parse_lua(text, name) if path.suffix == ".lua" else parse_yaml(decoded, name)


def _unreadable(name: str, detail: str, line: int = 1) -> Document:
    return Document(name, {}, Place((line, 1)), [Problem(name, line, 1, "$", detail)])
