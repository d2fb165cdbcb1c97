"""Keys that their holder narrows offline: a chain of HMACs over an id and its caveats (spec 5.4).

A key is `lpk_<id>.<caveats>.<sig>`: sig_0 = HMAC(root, id), sig_i = HMAC(sig_{i-1}, caveat_i). Who holds
sig_i can append a caveat and cannot take one away. The middle part is base64url of the caveats, a line
of canonical JSON `[name,value]` each. Nothing here is stored: a key is known by its root and its id.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import orjson

from llm_policy_host.errors import UsageError
from llm_policy_host.quick import quick

from .caveats import CAVEATS, RIGHTS, Caveat, Caveats, canonical, written

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

PREFIX: Final = "lpk_"
MAX_BYTES: Final = 4096
"""A longer key fits no header of a careful server."""
MAX_CAVEATS: Final = 32
MAX_BUDGETS: Final = 8
"""Each is an account of its own, one below the other."""
MIN_ROOT_BYTES: Final = 32
"""The ledger holds the root's digest, so that a guessable root would be found."""

KeyRefusal: TypeAlias = Literal[
    "malformed",
    "too_long",
    "too_many_caveats",
    "bad_signature",
    "unknown_caveat",
    "bad_caveat",
    "not_yet",
    "expired",
    "revoked",
    "wrong_audience",
]

_SHAPE = re.compile(rb"lpk_([0-9A-Za-z_-]{1,64})\.([0-9A-Za-z_-]*)\.([0-9A-Za-z_-]{43})\Z")
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_TO_URL = bytes.maketrans(b"+/", b"-_")
_ROOT_DOMAIN = b"llm-policy/key-root\n"


@dataclass(frozen=True, slots=True)
class Budget:
    """What a caveat lets be used: an account of its own, named by the chain up to it.

    Whoever narrows a key further stays in the account, and whoever narrows it beside it gets another.
    """

    account: str
    resource: str
    limit: int
    window: str


@quick
@dataclass(frozen=True, slots=True)
class Grant:
    """What a key gives: the intersection of its caveats. A set that is absent allows all.

    `lines` are the caveats as they were signed.
    """

    key_id: str
    caveats: Caveats = field(repr=False)
    budgets: tuple[Budget, ...] = ()
    lines: bytes = field(default=b"", repr=False)

    @property
    def chain(self) -> str:
        """Give the digest of its id and of its caveats in their order: no other key has it."""
        return _chain(self.key_id, self.lines)

    @property
    def rights(self) -> frozenset[str]:
        """Give what may be asked for."""
        given: frozenset[str] | None = self.caveats.get("rights")
        return RIGHTS if given is None else given & RIGHTS

    @property
    def content(self) -> str | None:
        """Give the highest level of content that may be kept; None where the key says nothing."""
        level: str | None = self.caveats.get("content")
        return level

    def allows(self, caveat: str, name: str) -> bool:
        """Whether a name (of a model, a provider, a profile, a policy) is among those a caveat allows."""
        allowed: frozenset[str] | None = self.caveats.get(caveat)
        return allowed is None or name in allowed

    def refusal(
        self, now_ms: int, revoked: Collection[str], audience: str | None = None
    ) -> KeyRefusal | None:
        """Say what stands against it now, its signature aside."""
        caveats = self.caveats
        if self.key_id in revoked:
            return "revoked"
        if now_ms >= caveats.get("expires_ms", now_ms + 1):
            return "expired"
        if now_ms < caveats.get("not_before_ms", now_ms):
            return "not_yet"
        if "audience" in caveats and audience not in caveats["audience"]:
            return "wrong_audience"
        return None


def verify(
    key: str | bytes,
    roots: Sequence[bytes],
    now_ms: int,
    revoked: Collection[str],
    audience: str | None = None,
) -> Grant | KeyRefusal:
    """Give what a key grants at a moment, or why it grants nothing.

    Nothing of the caveats is read before the signature is known to be right. `audience` is the name of
    who asks: a key made for others is refused, and so is one made for anybody in particular if it is absent.
    """
    grant = _genuine(key, roots)
    return grant if isinstance(grant, str) else grant.refusal(now_ms, revoked, audience) or grant


class Verifier:
    """Verifies for one host, and remembers whom it has seen; what time or a revocation ends, ends at once.

    It remembers the digests of genuine keys only, so that guesses neither fill it nor are timed by it.
    """

    def __init__(self, roots: Iterable[bytes], audience: str | None = None, size: int = 4096) -> None:
        self._roots = tuple(roots)
        self._audience = audience
        self._size = size
        self._seen: dict[bytes, Grant] = {}

    def __call__(self, key: bytes, now_ms: int, revoked: Collection[str]) -> Grant | KeyRefusal:
        """Do what `verify` does."""
        if len(key) > MAX_BYTES:
            return "too_long"
        digest = hashlib.sha256(key).digest()
        grant = self._seen.get(digest)
        if grant is None:
            found = _genuine(key, self._roots)
            if isinstance(found, str):
                return found
            if len(self._seen) >= self._size:
                self._seen.clear()
            grant = self._seen[digest] = found
        return grant.refusal(now_ms, revoked, self._audience) or grant


def _genuine(key: str | bytes, roots: Sequence[bytes]) -> Grant | KeyRefusal:
    given = _split(key)
    if isinstance(given, str):
        return given
    for root in roots:
        if hmac.compare_digest(_text(given.sign(root)), given.signature):
            return _read(given)
    return "bad_signature"


def peek(key: str | bytes) -> Grant | KeyRefusal:
    """Say what a key claims to grant; whether it is genuine only `verify` knows."""
    given = _split(key)
    return given if isinstance(given, str) else _read(given)


def mint(root: bytes, key_id: str, rights: Iterable[str], caveats: Iterable[tuple[str, Any]] = ()) -> str:
    """Make a key; its first caveat is always what it may be used for."""
    check_root(root)
    first = hmac.digest(root, key_id.encode(), "sha256")
    return _extended(_Given(key_id, (), b"", _text(first)), [("rights", list(rights)), *caveats])


def narrow(key: str, caveats: Iterable[tuple[str, Any]]) -> str:
    """Append caveats to a key, which takes nothing but the key."""
    given = _split(key)
    if isinstance(given, str):
        raise UsageError(f"the key cannot be narrowed: {given}")
    return _extended(given, caveats)


def make_key_id(entropy: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """Make up an id: 80 random bits."""
    return base64.b32encode(entropy(10)).decode().lower()


def root_digest(root: bytes) -> str:
    """Give what a root is known by in the ledger."""
    return hashlib.sha256(_ROOT_DOMAIN + root).hexdigest()


def check_root(root: bytes) -> None:
    """Refuse a root that could be guessed from its digest."""
    if len(root) < MIN_ROOT_BYTES:
        raise UsageError(f"must have at least {MIN_ROOT_BYTES} characters")


@quick
@dataclass(frozen=True, slots=True)
class _Given:
    """A key taken apart."""

    key_id: str
    lines: tuple[bytes, ...]
    raw: bytes
    signature: bytes = field(repr=False)

    def sign(self, root: bytes) -> bytes:
        """Follow the chain from a root to what the signature should be."""
        digest = hmac.digest
        signature = digest(root, self.key_id.encode(), "sha256")
        for line in self.lines:
            signature = digest(signature, line, "sha256")
        return signature


def _split(key: str | bytes) -> _Given | KeyRefusal:
    """Take a key apart. Its form is the only one: what decodes alike but is written otherwise is refused."""
    if isinstance(key, str):
        key = key.encode(errors="replace")
    if len(key) > MAX_BYTES:
        return "too_long"
    match = _SHAPE.match(key)
    if match is None:
        return "malformed"
    key_id, encoded, signature = match.groups()
    raw = _bytes(encoded)
    if raw is None:
        return "malformed"
    lines = tuple(raw.split(b"\n")) if raw else ()
    if len(lines) > MAX_CAVEATS:
        return "too_many_caveats"
    return _Given(key_id.decode(), lines, raw, signature)


def _read(given: _Given) -> Grant | KeyRefusal:
    """Fold the caveats into what they leave."""
    left: dict[str, Any] = {}
    budgets: list[Budget] = []
    end = -1
    for line in given.lines:
        end += 1 + len(line)
        read = _parse(line)
        if isinstance(read, str):
            return read
        row, value = read
        name = row.name
        left[name] = row.meet(left[name], value) if name in left else row.first(value)
        if row.window is not None:
            account = _account(given.key_id, given.raw[:end])
            budgets.append(Budget(account, row.resource, value, row.window))
    if len(budgets) > MAX_BUDGETS:
        return "too_many_caveats"
    return Grant(given.key_id, left, tuple(budgets), given.raw)


def _parse(line: bytes) -> tuple[Caveat, Any] | KeyRefusal:
    try:
        name, value = orjson.loads(line)
    except (ValueError, TypeError):
        return "bad_caveat"
    row = CAVEATS.get(name) if isinstance(name, str) else None
    if row is None:
        return "unknown_caveat"
    if not row.is_good(value) or canonical(name, value) != line:
        return "bad_caveat"
    return row, value


def _account(key_id: str, prefix: bytes) -> str:
    """Name a budget's account by the caveats up to it, of which the name tells nothing."""
    return f"key:{key_id}:{_chain(key_id, prefix)[:32]}"


def _chain(key_id: str, lines: bytes) -> str:
    return hashlib.sha256(key_id.encode() + b"." + lines).hexdigest()


def _extended(given: _Given, caveats: Iterable[tuple[str, Any]]) -> str:
    """Write a key with more caveats."""
    signature = _bytes(given.signature)
    if signature is None:
        raise UsageError("the key cannot be narrowed: malformed")
    lines = list(given.lines)
    for name, value in caveats:
        lines.append(line := written(name, value))
        signature = hmac.digest(signature, line, "sha256")
    encoded = _text(b"\n".join(lines)).decode()
    key = f"{PREFIX}{given.key_id}.{encoded}.{_text(signature).decode()}"
    made = peek(key)
    if isinstance(made, str):
        raise UsageError(f"the key cannot be made: {made}")
    return key


def _text(data: bytes) -> bytes:
    """Write bytes as base64url without padding."""
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL, b"=")


def _bytes(text: bytes) -> bytes | None:
    """Read base64url without padding; None where it is not what would have been written."""
    try:
        data = binascii.a2b_base64(text.translate(_TO_STANDARD) + b"=" * (-len(text) % 4))
    except ValueError:
        return None
    return data if _text(data) == text else None
