"""What every test run shares: the markers, and a header that names the runtimes at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.runtimes import RUNTIMES

if TYPE_CHECKING:
    import pytest

MARKERS = (
    "heavy: takes long (wheels, many processes); deselected by default",
    "realmodel: needs the demo's model files on this machine",
)


def pytest_configure(config: pytest.Config) -> None:
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)


def pytest_report_header() -> list[str]:
    reasons = {runtime.name: runtime.available() for runtime in RUNTIMES}
    present = [name for name, reason in reasons.items() if not reason]
    absent = [f"{name} ({reason})" for name, reason in reasons.items() if reason]
    return [f"lua runtimes: {', '.join(present)}", f"absent: {', '.join(absent) or 'none'}"]
