"""Each provider's credential, found anew for each call so that a rotated file is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_policy_host.values import Credential, Failure, Missing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.ports import Authenticator, SecretSource

KINDS = ("none", "bearer")
"""The kinds of `auth` that this host can resolve."""


class AuthResolver:
    """Turns a provider's name into a credential through its `auth` record."""

    def __init__(self, auths: Mapping[str, Mapping[str, Any]], secrets: SecretSource) -> None:
        self._auths = auths
        self._secrets = secrets

    async def credential(self, provider_id: str) -> Credential | Failure:
        """Give what the adapter needs; a failure when the secret cannot be had."""
        found = self.find(provider_id)
        if isinstance(found, Missing):
            return Failure("auth_error", detail=found.reason)
        return found

    def refused(self, provider_id: str, credential: Credential) -> None:
        """Take note that a credential was not accepted; the next look-up reads it anew anyway."""

    def find(self, provider_id: str) -> Credential | Missing:
        """Look the credential up, without waiting for anyone."""
        auth = self._auths.get(provider_id, {"kind": "none"})
        if auth["kind"] == "none":
            return Credential()
        if auth["kind"] not in KINDS:
            return Missing(f"`{auth['kind']}` credentials are not available in this host")
        secret = self._secrets.find(auth)
        return secret if isinstance(secret, Missing) else Credential(secret)


def _conforms(resolver: AuthResolver) -> Authenticator:
    """Let the type checker prove the port."""
    return resolver
