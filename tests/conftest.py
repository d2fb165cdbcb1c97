"""What every test run shares: the markers, and a header that names the runtimes at hand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import settings

from tests.runtimes import RUNTIMES

if TYPE_CHECKING:
    import pytest

MARKERS = (
    "heavy: takes long (wheels, many processes); deselected by default",
    "realmodel: needs the demo's model files on this machine",
)

# One commit has one result: the default run draws the same examples every time. Who looks for new
# ones asks for them: pytest --hypothesis-profile search
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=1000)
settings.load_profile("same")


# Where .ci/run puts what npm installs, outside of the checkout.
NODE_MODULES = Path.home() / ".cache" / "llm-policy-ci" / "node_modules"


def pytest_configure(config: pytest.Config) -> None:
    searched = [os.environ.get("NODE_PATH", ""), str(NODE_MODULES)]
    os.environ["NODE_PATH"] = os.pathsep.join(filter(None, searched))
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)


def pytest_report_header() -> list[str]:
    reasons = {runtime.name: runtime.available() for runtime in RUNTIMES}
    present = [name for name, reason in reasons.items() if not reason]
    absent = [f"{name} ({reason})" for name, reason in reasons.items() if reason]
    return [f"lua runtimes: {', '.join(present)}", f"absent: {', '.join(absent) or 'none'}"]
