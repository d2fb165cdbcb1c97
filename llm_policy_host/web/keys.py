"""The gateway's own keys: who a caller is, and what else he may than ask.

A key is known by its digest alone. Without any key the gateway is open, which only a listener on
this machine may be; then nobody may do what a web page in a browser here should not.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from llm_policy_host.ledger.keys import PREFIX
from llm_policy_host.values import Secret

from .errors import RefusedError, invalid
from .skin import Caller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from llm_policy_host.values import Contract

OPEN: Final = Caller("", None, frozenset({"policy", "metadata"}))
"""Whoever calls where no keys are."""

OVERRIDE_HEADER = b"x-llm-policy-auth-override"

_BEARER = b"bearer "
_PREFIX = PREFIX.encode()


class Keys:
    """Finds the caller of a request by the key in its headers."""

    def __init__(
        self,
        entries: Sequence[tuple[bytes, Caller]],
        *,
        is_open: bool = False,
        minted: Callable[[bytes], Caller | None] | None = None,
    ) -> None:
        """Take digests and their callers; `is_open` where the config names no key at all.

        `minted` finds the holder of a key that the ledger knows.
        """
        self._entries = tuple(entries)
        self._is_open = is_open
        self._minted = minted

    def __call__(self, headers: Mapping[bytes, bytes]) -> Caller:
        """Give the caller; `RefusedError` (401) where no header holds a key that is one."""
        if self._is_open:
            return OPEN
        given = list(_given(headers))
        for key in given:
            caller = self._find(key)
            if caller is not None:
                return caller
        if given:
            raise RefusedError(401, "invalid_api_key", "this key is not one of the gateway's")
        raise RefusedError(
            401, "missing_api_key", "a key is needed: `Authorization: Bearer KEY` or `x-api-key`"
        )

    def _find(self, key: bytes) -> Caller | None:
        """Compare with every key, whichever it is: the time tells nothing."""
        if self._minted is not None and key.startswith(_PREFIX):
            return self._minted(key)
        digest, found = hashlib.sha256(key).digest(), None
        for known, caller in self._entries:
            if hmac.compare_digest(known, digest):
                found = caller
        return found


def digest_of(key: Secret) -> bytes:
    """Give what a key is known by."""
    return hashlib.sha256(key.reveal().encode()).digest()


def _given(headers: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """Give the keys in the three forms that clients of these APIs send."""
    authorization = headers.get(b"authorization", b"")
    if authorization[: len(_BEARER)].lower() == _BEARER:
        yield authorization[len(_BEARER) :].strip()
    for name in (b"x-api-key", b"api-key"):
        if name in headers:
            yield headers[name].strip()


def check_may(caller: Caller | None, right: str, what: str, param: str) -> None:
    """Refuse a caller without a right (403)."""
    if caller is not None and right not in caller.may:
        raise RefusedError(
            403, "not_allowed", f"{what} needs the right `{right}`, which this key lacks", param
        )


def check_rights(caller: Caller | None, contract: Contract, *, is_stream: bool) -> None:
    """Refuse a holder of the ledger's keys what none of his rights gives (403)."""
    if caller is None or caller.granted is None:
        return
    needed = "embed" if contract.kind == "embeddings" else "stream" if is_stream else "call"
    for right in (needed, "flow") if contract.flow_ir is not None else (needed,):
        if right not in caller.granted.rights:
            raise RefusedError(
                403, "not_allowed", f"this needs the right `{right}`, which this key lacks", None
            )


def read_override(headers: Mapping[bytes, bytes], caller: Caller | None) -> dict[str, Secret]:
    """Read `x-llm-policy-auth-override: PROVIDER=KEY`, a caller's own key for one provider."""
    given = headers.get(OVERRIDE_HEADER)
    if given is None:
        return {}
    name = OVERRIDE_HEADER.decode()
    check_may(caller, "auth_override", f"`{name}`", name)
    provider, equals, key = given.decode("latin-1").partition("=")
    if not (provider.strip() and equals and key.strip()) or not (key.isascii() and key.strip().isprintable()):
        raise invalid("must be PROVIDER=KEY", name)
    return {provider.strip(): Secret(key.strip())}
