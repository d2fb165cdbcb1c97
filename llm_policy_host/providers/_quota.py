"""What a provider says of an account's quota, told to whoever chooses accounts."""

from __future__ import annotations

from typing import Protocol


class NoteQuota(Protocol):
    """Takes note how many percent of an account are used until when."""

    def __call__(
        self, provider_id: str, account: str, used: float, resets_ms: float, *, is_closed: bool = False
    ) -> bool:
        """Take note; `is_closed` says that the account serves nobody until then.

        Gives whether any account of the provider serves now.
        """


def ignored(
    provider_id: str, account: str, used: float, resets_ms: float, *, is_closed: bool = False
) -> bool:
    """Take no note: nobody chooses accounts here."""
    del provider_id, account, used, resets_ms
    return not is_closed
