"""The secret that a deployment's keys are made with and known by: `host.keys_root`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_policy_host.errors import UsageError
from llm_policy_host.ledger.keys import check_root
from llm_policy_host.values import Missing

if TYPE_CHECKING:
    from llm_policy_host.ports import SecretSource

    from .settings import Settings


def read_key_root(settings: Settings, secrets: SecretSource) -> bytes:
    """Give the root; `UsageError` where there is none, or one that could be guessed."""
    if not settings.keys_root:
        raise UsageError("host.keys_root: is not set: keys are made with a secret of this deployment")
    found = secrets.find(settings.keys_root)
    if isinstance(found, Missing):
        raise UsageError(f"host.keys_root: {found.reason}")
    root = found.reveal().encode()
    try:
        check_root(root)
    except UsageError as error:
        raise UsageError(f"host.keys_root: {error}") from None
    return root
