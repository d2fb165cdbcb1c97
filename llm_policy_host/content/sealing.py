"""What a deployment's key does for content: digests for events, and seals that end with a tenant's key.

Every tenant has a random data key, which lies wrapped by the deployment's key beside what it seals: with
it gone, nobody can read any of it, the deployment's key in hand or not. Each run seals with a key of its
own made from it, so that no key ever sees many nonces.
"""

from __future__ import annotations

import hmac
import importlib
from hashlib import sha256
from os import urandom
from typing import Any, Final

from llm_policy_host.errors import UsageError

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_DIGEST, _WRAP, _CHECK = (
    b"llm-policy content digest 1",
    b"llm-policy content wrap 1",
    b"llm-policy content check 1",
)


class BrokenSealError(Exception):
    """The key is another, or the bytes were changed."""


class Digests:
    """Names contents by keyed digests: equal contents of one tenant alike, those of two tenants never."""

    def __init__(self, root: bytes) -> None:
        self._root = _derived(root, _DIGEST)
        self.check = _derived(root, _CHECK).hex()
        """What tells a deployment's key from another, and nothing of it."""

    def ref(self, tenant: str, data: bytes) -> str:
        """Give a content's keyed digest."""
        key = _derived(self._root, tenant.encode())
        return "hmac-sha256:" + hmac.digest(key, data, "sha256").hex()


class Seals:
    """Makes and opens seals (AES-256-GCM)."""

    def __init__(self, root: bytes) -> None:
        try:
            aead = importlib.import_module("cryptography.hazmat.primitives.ciphers.aead")
            errors = importlib.import_module("cryptography.exceptions")
        except ImportError:
            detail = "the package `cryptography` is not installed: `pip install 'llm-policy[seal]'`"
            raise UsageError(f"host.content.level: cannot seal: {detail}") from None
        self._cipher: Any = aead.AESGCM
        self._invalid: type[Exception] = errors.InvalidTag
        self._root = _derived(root, _WRAP)

    def new_key(self, tenant: str) -> tuple[bytes, bytes]:
        """Draw a tenant's data key; give it, and as it is stored."""
        key = urandom(KEY_BYTES)
        return key, self._closed(self._root, key, tenant.encode())

    def unwrap(self, tenant: str, wrapped: bytes) -> bytes:
        """Give a tenant's data key from how it is stored."""
        return self._opened(self._root, wrapped, tenant.encode())

    def seal(self, key: bytes, run: str, name: str, data: bytes) -> bytes:
        """Seal a content: it opens under its own run and name alone."""
        return self._closed(_derived(key, run.encode()), data, name.encode())

    def open(self, key: bytes, run: str, name: str, sealed: bytes) -> bytes:
        """Open a seal; `BrokenSealError` where it is not as it was made."""
        return self._opened(_derived(key, run.encode()), sealed, name.encode())

    def _closed(self, key: bytes, data: bytes, about: bytes) -> bytes:
        nonce = urandom(_NONCE_BYTES)
        sealed: bytes = self._cipher(key).encrypt(nonce, data, about)
        return nonce + sealed

    def _opened(self, key: bytes, sealed: bytes, about: bytes) -> bytes:
        try:
            data: bytes = self._cipher(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], about)
        except (self._invalid, ValueError):
            raise BrokenSealError from None
        return data


def _derived(key: bytes, about: bytes) -> bytes:
    return hmac.digest(key, about, sha256)
