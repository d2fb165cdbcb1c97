"""Commitments: an identity published without being told, and revealed later.

A node's policy and its catalog are committed to apart, each under a salt of its own, so that one
can be revealed while the other stays unknown.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_policy_host.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llm_policy_host.core.digest import Digest

SALT_BYTES = 32
MIN_SALT_BYTES = 16
"""Below this a salt could be tried out, and with it the few identities a node may have."""

ADDRESSES = frozenset({"base_url", "auth", "auth_env", "aws_region"})
"""Keys of a candidate that say where a call goes and who pays: no identity of a catalog holds them."""


@dataclass(frozen=True, slots=True)
class Commitment:
    """An identity, the salt that hides it, and what is published of them."""

    identity: str
    salt: str
    commitment: str


def new_salt() -> bytes:
    """Draw a salt."""
    return secrets.token_bytes(SALT_BYTES)


def read_salt(text: str) -> bytes:
    """Read a salt written in hexadecimal."""
    try:
        salt = bytes.fromhex(text)
    except ValueError:
        raise UsageError("a salt is written in hexadecimal") from None
    if len(salt) < MIN_SALT_BYTES:
        raise UsageError(f"a salt has at least {MIN_SALT_BYTES} bytes")
    return salt


def part_salt(salt: bytes, part: str) -> bytes:
    """Derive the salt of one part from the node's: revealing it tells nothing of another part's."""
    return hmac.digest(salt, part.encode(), "sha256")


def commit(identity: str, salt: bytes) -> Commitment:
    """Commit to an identity: `sha256(salt || identity)`."""
    digest = hashlib.sha256(salt + identity.encode()).hexdigest()
    return Commitment(identity, salt.hex(), f"sha256:{digest}")


def is_revealed_by(commitment: str, identity: str, salt: bytes) -> bool:
    """Whether a published commitment is to this identity, under this salt."""
    return hmac.compare_digest(commit(identity, salt).commitment.encode(), commitment.encode())


def public_candidates(candidates: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give a catalog's candidates without what names an address or an account."""
    return [
        {name: value for name, value in candidate.items() if name not in ADDRESSES}
        for candidate in candidates
    ]


def catalog_identity(digest: Digest, candidates: Iterable[Mapping[str, Any]]) -> str:
    """Give the identity of candidates in canonical order: `sha256` of their encoding (spec 1.4)."""
    return digest.identity(public_candidates(candidates))
