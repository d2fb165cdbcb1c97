from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / "example_host" / "example.py"


def test_the_example_is_short_and_prints_the_decision_and_its_trace() -> None:
    assert len(EXAMPLE.read_text().splitlines()) <= 80
    assert "llm_policy_host" not in EXAMPLE.read_text()
    run = subprocess.run(
        [sys.executable, str(EXAMPLE)], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    for text in ("answer:  bonjour", "small-model @ solid", "sha256:", "event=retry_scheduled", "rate_limit"):
        assert text in run.stdout
