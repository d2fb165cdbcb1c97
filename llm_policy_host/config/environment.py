"""The process's environment, for those who are handed it: nothing else reads it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def environment() -> Mapping[str, str]:
    """Give the environment as it is now."""
    return dict(os.environ)
