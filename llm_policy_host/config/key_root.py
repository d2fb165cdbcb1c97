"""The secrets of a deployment: what keys are made with, `host.keys_root`, and what seals content."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_policy_host.errors import UsageError
from llm_policy_host.ledger.keys import check_root
from llm_policy_host.values import Missing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from llm_policy_host.ports import SecretSource

    from .settings import Settings


def read_key_root(settings: Settings, secrets: SecretSource) -> bytes:
    """Give the root; `UsageError` where there is none, or one that could be guessed."""
    if not settings.keys_root:
        raise UsageError("host.keys_root: is not set: keys are made with a secret of this deployment")
    return _read("host.keys_root", settings.keys_root, secrets)


def read_content_key(settings: Settings, secrets: SecretSource) -> bytes:
    """Give the key of `host.content.key`; `UsageError` where there is none, or one that could be guessed."""
    if not settings.content.get("key"):
        raise UsageError("host.content.key: is not set: content is sealed with a secret of this deployment")
    return _read("host.content.key", settings.content["key"], secrets)


def _read(path: str, where: Mapping[str, Any], secrets: SecretSource) -> bytes:
    found = secrets.find(where)
    if isinstance(found, Missing):
        raise UsageError(f"{path}: {found.reason}")
    root = found.reveal().encode()
    try:
        check_root(root)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    return root
