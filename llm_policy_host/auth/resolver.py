"""Each provider's credential, found anew for each call so that a rotated one is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_policy_host.values import Credential, Failure, Missing

from .oauth import OAuthProvider

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.ports import Authenticator, SecretSource
    from llm_policy_host.values import Secret

    from .oauth import OAuthTools

KINDS = ("none", "bearer", "oauth")
"""The kinds of `auth` that this host can resolve."""

_NO_AUTH: Mapping[str, Any] = {"kind": "none"}
_NOBODY = Credential()


class AuthResolver:
    """Turns a provider's name into a credential through its `auth` record."""

    def __init__(
        self,
        auths: Mapping[str, Mapping[str, Any]],
        secrets: SecretSource,
        oauth: OAuthTools | None = None,
    ) -> None:
        self._auths = auths
        self._secrets = secrets
        self._bearers: dict[str, tuple[Secret, Credential]] = {}
        self.oauth: Mapping[str, OAuthProvider] = (
            {}
            if oauth is None
            else {
                name: OAuthProvider(name, auth, oauth)
                for name, auth in auths.items()
                if auth["kind"] == "oauth"
            }
        )

    def at_once(self, provider_id: str) -> Credential | None:
        """Give the credential if nobody must be waited for."""
        if provider_id in self.oauth:
            return None
        found = self.find(provider_id)
        return None if isinstance(found, Missing) else found

    async def credential(self, provider_id: str) -> Credential | Failure:
        """Give what the adapter needs; a failure when the secret cannot be had."""
        provider = self.oauth.get(provider_id)
        if provider is not None:
            return await provider.credential()
        found = self.find(provider_id)
        if isinstance(found, Missing):
            return Failure("auth_error", detail=found.reason)
        return found

    def refused(self, provider_id: str, credential: Credential) -> None:
        """Take note that a credential was not accepted: the next OAuth token is a new one.

        A bearer's file is looked at for each call anyway; the environment and the keyring are not
        read again.
        """
        provider = self.oauth.get(provider_id)
        if provider is not None:
            provider.refused(credential)

    def note_quota(
        self, provider_id: str, account: str, used: float, resets_ms: float, *, is_closed: bool = False
    ) -> bool:
        """Take note how many percent of an account are used until when; `is_closed` if it serves nobody.

        Gives whether any account of the provider serves now.
        """
        provider = self.oauth.get(provider_id)
        if provider is None:
            return not is_closed
        return provider.note_quota(account, used, resets_ms, is_closed=is_closed)

    def find(self, provider_id: str) -> Credential | Missing:
        """Look the credential up, without waiting for anyone."""
        auth = self._auths.get(provider_id, _NO_AUTH)
        if auth["kind"] == "none":
            return _NOBODY
        provider = self.oauth.get(provider_id)
        if provider is not None:
            return provider.find()
        if auth["kind"] != "bearer":
            return Missing(f"`{auth['kind']}` credentials are not available in this host")
        return self._bearer(provider_id, auth)

    def _bearer(self, provider_id: str, auth: Mapping[str, Any]) -> Credential | Missing:
        secret = self._secrets.find(auth)
        if isinstance(secret, Missing):
            return secret
        known = self._bearers.get(provider_id)
        if known is None or known[0] is not secret:
            known = self._bearers[provider_id] = (secret, Credential(secret))
        return known[1]


def _conforms(resolver: AuthResolver) -> Authenticator:
    """Let the type checker prove the port."""
    return resolver
