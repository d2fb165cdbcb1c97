"""Policies as the command line names them: a profile `CONFIG#NAME`, or a file that is a term."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_policy_host.analysis.subject import Subject, bare_engine, envelope_of, schema_of
from llm_policy_host.config.load import document_of
from llm_policy_host.core.engine import LuaEngine
from llm_policy_host.core.language import Identified, Language, Refusal
from llm_policy_host.core.vm import Vm
from llm_policy_host.errors import UsageError
from llm_policy_host.values import nothing
from llm_policy_host.wiring import Host

from .commit import profile_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.config.document import Document
    from llm_policy_host.values import Plain

A_TERM = "a term as `.json`, `.yaml` or `.lua`, `-` reads one as JSON"
WHAT = f"a profile `CONFIG#NAME`, a config with one or a default profile, or {A_TERM}"
_STANDARD_INPUT = "-"


class RefusedTermError(UsageError):
    """A term that is not admitted."""

    def __init__(self, name: str, refusal: Refusal) -> None:
        super().__init__(f"{name}: refused: {refusal.code} at {refusal.path}: {refusal.detail}")
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Named:
    """A policy as named: the config that it is a profile of, or nothing where it is a bare term."""

    name: str
    host: Host | None = None
    profile: str | None = None

    @property
    def schema(self) -> Mapping[str, Any]:
        """Give what its terms may name."""
        return nothing() if self.host is None else schema_of(self.host.config.core)


def under_envelope(subject: Subject, core: Mapping[str, Any]) -> Subject:
    """Give a policy as a config would take it from a caller."""
    if subject.sort != "Policy" or "policy_envelope" not in core:
        return subject
    filtered = ["and", envelope_of(core), subject.term[1]]
    return _subject(subject.name, ["policy", filtered, *subject.term[2:]], subject.schema)


def identity(subject: Subject) -> str:
    """Give the identity of a policy."""
    return _identified(subject.name, subject.term, subject.schema).identity


def profile_names(host: Host) -> list[str]:
    """List a config's profiles."""
    return sorted(host.config.core.get("profiles") or {})


def is_term(name: str) -> bool:
    """Whether a name is that of a term's file: JSON, or what is a list where a config is a record."""
    if name == _STANDARD_INPUT or name.endswith(".json"):
        return True
    return Path(name).is_file() and isinstance(_document(name).data, list)


def find(text: str) -> Named:
    """Find what a command line names; a config is loaded, a term is read later."""
    if is_term(text):
        return Named(text)
    path, has_profile, profile = text.partition("#")
    host = Host.from_config(path)
    return Named(text, host, profile_name(host, profile if has_profile else None))


def read(named: Named, schema: Mapping[str, Any] | None = None, *, has_envelope: bool = True) -> Subject:
    """Give the policy: of a profile its effective term, without its config's envelope where that is asked."""
    if named.host is None or named.profile is None:
        return _subject(named.name, read_term(named.name), schema or {})
    term = named.host.engine.profile_term(named.profile) if has_envelope else _without_envelope(named)
    if term is None:
        why = "it calls functions of its host, or waits for the chain of a contract"
        raise UsageError(f"`{named.name}` has no term: {why}")
    return _subject(named.name, term, named.schema)


def read_text(name: str) -> bytes:
    """Read a term's file as it is."""
    if name == _STANDARD_INPUT:
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"the term `{name}` cannot be read: {(error.strerror or '').lower()}") from None


def read_term(name: str) -> Plain:
    """Read a term: the bytes of JSON, which the core reads itself, or plain data."""
    if name == _STANDARD_INPUT or name.endswith(".json"):
        return read_text(name)
    document = _document(name)
    if document.child is not None:
        raise UsageError(f"`{name}` has no term: it calls functions of its host")
    return document.data


def _document(name: str) -> Document:
    document = document_of(read_text(name), Path(name))
    if document.child is not None:
        document.child.close()
    return document


def _without_envelope(named: Named) -> Plain:
    if named.host is None or not isinstance(named.host.engine, LuaEngine):
        raise UsageError(f"`{named.name}`: a config that holds functions is always under its envelope")
    core = {key: value for key, value in named.host.config.core.items() if key != "policy_envelope"}
    return bare_engine(core).profile_term(named.profile or "")


def _subject(name: str, term: Plain, schema: Mapping[str, Any]) -> Subject:
    found = _identified(name, term, schema)
    return Subject(name, found.sort, found.term, schema)


def _identified(name: str, term: Plain, schema: Mapping[str, Any]) -> Identified:
    language = Language(Vm())
    answer = (
        language.identify_json(term, schema) if isinstance(term, bytes) else language.identify(term, schema)
    )
    if isinstance(answer, Refusal):
        raise RefusedTermError(name, answer)
    return answer
