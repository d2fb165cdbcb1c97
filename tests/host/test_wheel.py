"""The distribution: a wheel with the core inside, which works where no checkout is."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.heavy
def test_a_wheel_decides_outside_the_checkout(tmp_path: Path) -> None:
    def run(*command: object) -> str:
        done = subprocess.run([*map(str, command)], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        f"llm_policy_host/_lua/{file.relative_to(ROOT / 'lua')}" for file in (ROOT / "lua").rglob("*.lua")
    }
    cases = (ROOT / "tests" / "conformance").glob("*/*.json")
    wanted |= {f"llm_policy_host/_conformance/{file.parent.name}/{file.name}" for file in cases}
    assert wanted <= inside
    assert not [name for name in inside if name.startswith("tests/")]
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", wheel)
    assert "── prompt 3" in run(tmp_path / "env" / "bin" / "llm-policy", "demo", "--scripted")
    conform = ("conform", "run", "--group", "selectors", "--runtime", "lupa-lua54")
    assert "cases as expected" in run(tmp_path / "env" / "bin" / "llm-policy", *conform)
    core = run(python, "-c", "from llm_policy_host.core.sources import core_directory as d; print(d())")
    assert str(tmp_path) in core
