"""What a provider says of an account's quota, told to whoever chooses accounts."""

from __future__ import annotations

from typing import Protocol


class NoteQuota(Protocol):
    """Takes note how many percent of an account are used until when."""

    def __call__(
        self, provider_id: str, account: str, used: float, resets_ms: float, *, is_closed: bool = False
    ) -> None:
        """Take note; `is_closed` says that the account serves nobody until then."""


def ignored(
    provider_id: str, account: str, used: float, resets_ms: float, *, is_closed: bool = False
) -> None:
    """Take no note: nobody chooses accounts here."""
    del provider_id, account, used, resets_ms, is_closed
