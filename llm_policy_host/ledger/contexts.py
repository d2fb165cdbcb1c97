"""What decisions rested on, kept once: a ctx is found by the identity of its parts (spec 5.3).

A ctx is a record of parts: the engine's `state`, and what the host gathered (`observed`, `offers`,
`price_multipliers`). Its identity is the digest of the whole, so that it does not depend on what was
written before; what is stored is the whole, or its difference to the last one stored whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host import spelling
from llm_policy_host.errors import LedgerError

from .digests import without_addresses
from .encoding import encode, quoted, read, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llm_policy_host.values import Plain

GATHERED: Final = ("observed", "offers", "price_multipliers")
"""What of the host's gatherings a plan reads; credits and disabled providers are in the engine's state."""

_FORMAT: Final = "ctx/v1"
_MOST_OF_WHOLE = 0.5
"""A difference longer than this part of the whole is no saving."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A ctx that is in the store: its identity, and the blob that it is read from."""

    identity: str
    blob: str


@dataclass(frozen=True, slots=True)
class _Part:
    """A part as it was given, until when it is the same, and as it is written."""

    source: object
    until_ms: float
    value: Plain
    text: str


class Contexts:
    """Writes each ctx once; `put` stores a blob and names it."""

    def __init__(self, put: Callable[[bytes], str]) -> None:
        self._put = put
        self._parts: dict[str, _Part] = {}
        self._state: _Part | None = None
        self._last: Kept | None = None
        self._whole: tuple[str, dict[str, Plain], int] | None = None

    def keep(
        self, version: int, state_text: Callable[[], bytes], others: Mapping[str, Any], now_ms: int
    ) -> Kept:
        """Give the ctx of a plan; `version` is the state's, asked for in words only when it is another."""
        state = self._state
        is_known = state is not None and state.source == version
        if not is_known:
            text = state_text()
            state = self._state = _Part(version, 0, read(text), text.decode(errors="surrogateescape"))
        for name in GATHERED:
            given, part = others.get(name), self._parts.get(name)
            if part is None:
                if not given:
                    continue
            elif part.source is given and now_ms < part.until_ms:
                continue
            is_known = False
            self._take(name, given, now_ms)
        if is_known and self._last is not None:
            return self._last
        assert state is not None  # noqa: S101 - set above
        self._last = self._written({"state": state, **self._parts})
        return self._last

    def _take(self, name: str, given: Any, now_ms: int) -> None:  # noqa: ANN401 - plain data
        if not given:
            self._parts.pop(name, None)
            return
        until_ms, value = float("inf"), given
        if name == "offers":
            until_ms, value = _first_end(given, now_ms), without_addresses(_good(given, now_ms))
        self._parts[name] = _Part(given, until_ms, value, text_of(value))

    def _written(self, parts: Mapping[str, _Part]) -> Kept:
        texts = [f"{quoted(name)}:{parts[name].text}" for name in sorted(parts)]
        text = f"{{{','.join(texts)}}}"
        identity = sha256(spelling.encode(text)).hexdigest()
        if self._last is not None and self._last.identity == identity:
            return self._last
        values = {name: part.value for name, part in parts.items()}
        if self._whole is not None:
            base, before, size = self._whole
            change = encode({"base": base, "ctx": identity, "format": _FORMAT, **_difference(before, values)})
            if len(change) < size * _MOST_OF_WHOLE:
                return Kept(identity, self._put(change))
        whole = spelling.encode(f'{{"ctx":{quoted(identity)},"format":{quoted(_FORMAT)},"whole":{text}}}')
        blob = self._put(whole)
        self._whole = (blob, values, len(whole))
        return Kept(identity, blob)


def resolve(blob: str, get: Callable[[str], bytes | None]) -> tuple[str, dict[str, Plain]]:
    """Read a ctx from its blob: its identity and its parts; a `LedgerError` where it is not what it says."""
    found = _read(blob, get)
    parts = found.get("whole")
    if parts is None:
        parts = _applied(_read(found["base"], get).get("whole") or {}, found)
    identity = sha256(encode(parts)).hexdigest()
    if identity != found.get("ctx"):
        raise LedgerError("digest", blob, "the ctx is not the one that its blob names")
    return identity, dict(parts)


def _read(blob: str, get: Callable[[str], bytes | None]) -> dict[str, Any]:
    data = get(blob)
    if data is None:
        raise LedgerError("blob", blob, "is not in the store")
    found = read(data)
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        raise LedgerError("blob", blob, "is no ctx")
    return found


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Plain]:
    """Say what to set and what to drop: whole parts, and the entries of those that are still there."""
    changes: dict[str, Any] = {"drop": [name for name in sorted(before) if name not in now]}
    for name, value in now.items():
        if name in before and _is_same(before[name], value):
            continue
        old, new = _entries(before.get(name)), _entries(value)
        if not (old and new):
            changes.setdefault("set", {})[name] = value
            continue
        change: dict[str, Any] = {
            "drop": [key for key in sorted(old) if key not in new],
            "set": {key: item for key, item in new.items() if key not in old or not _is_same(old[key], item)},
        }
        changes.setdefault("change", {})[name] = change
    return changes


def _entries(part: Plain) -> dict[str, Plain]:
    """Give the entries of a part that are written: an absent one is left out."""
    return {key: item for key, item in part.items() if item is not None} if isinstance(part, dict) else {}


def _is_same(old: Plain, new: Plain) -> bool:
    """Whether two values are written alike: Python takes true for 1. Seldom says no where they are."""
    return old is new or (old == new and repr(old) == repr(new))


def _applied(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Plain]:
    parts = {name: value for name, value in base.items() if name not in changes.get("drop", ())}
    parts.update(changes.get("set") or {})
    for name, change in (changes.get("change") or {}).items():
        kept = {key: value for key, value in parts[name].items() if key not in change["drop"]}
        parts[name] = {**kept, **(change["set"] or {})}
    return parts


def _good(offers: Mapping[str, Any], now_ms: int) -> dict[str, Plain]:
    """Give the offers that have not ended, without the moments at which they will."""
    return {
        name: [
            {key: value for key, value in offer.items() if key != "expires_at_ms"}
            for offer in many
            if offer.get("expires_at_ms") is None or offer["expires_at_ms"] > now_ms
        ]
        for name, many in offers.items()
    }


def _first_end(offers: Mapping[str, Any], now_ms: int) -> float:
    ends = [offer.get("expires_at_ms") for many in offers.values() for offer in many]
    return min((end for end in ends if end is not None and end > now_ms), default=float("inf"))
