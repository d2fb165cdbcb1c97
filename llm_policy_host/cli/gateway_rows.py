"""Who is measured by `bench gateway`: ours, the floors, and the peers that are there."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .bench_decide import POLICY, candidates
from .gateway_rig import UPSTREAMS, Row

OURS, BARE = "llm-policy", "uvicorn + raw asyncio"
CANDIDATES = 10

_UVICORN = (sys.executable, "-m", "uvicorn", "--port", "{port}", "--loop", "uvloop", "--http", "httptools")
_QUIET = ("--no-access-log", "--log-level", "warning")


def config(port: int) -> dict[str, Any]:
    """Write a config of ten candidates, all at the mock."""
    market = candidates(CANDIDATES)
    return {
        "providers": {each["provider"]: {"base_url": f"http://127.0.0.1:{port}/v1"} for each in market},
        "models": {
            each["family"]: {
                "capabilities": {"context": each["context"], "supports_tools": each["tools"]},
                "served_by": [{key: each[key] for key in ("provider", "price_in", "price_out")}],
            }
            for each in market
        },
        "profiles": {"default": {"policy_ir": POLICY}},
    }


def ours(work: Path) -> Row:
    """Give our gateway; a config for each upstream."""
    for upstream, port in UPSTREAMS.items():
        (work / f"{upstream}.yaml").write_text(json.dumps(config(port)))
    serve = ("-m", "llm_policy_host", "serve", f"{work}/{{upstream}}.yaml", "--port", "{port}")
    return Row(OURS, (sys.executable, *serve), model="profile:default")


def floors(bench: Path) -> list[Row]:
    """Give the floors: nothing but bytes passed on, by client."""
    own = ("--factory", "llm_policy_host.cli.gateway_floor:create")
    rows = [Row("uvicorn + our client", (*_UVICORN, *_QUIET, *own), environment={"UPSTREAM": "{address}/v1"})]
    for name, client in (
        (BARE, "raw"),
        ("uvicorn + pyreqwest", "pyreqwest"),
        ("uvicorn + aiohttp", "aiohttp"),
    ):
        if client == "raw" or find_spec(client) is not None:
            words = (*_UVICORN, *_QUIET, "floor_app:raw_app")
            rows.append(Row(name, words, by="path", environment={"CLIENT": client}, directory=bench))
    return rows


def peers(bench: Path, home: Path, work: Path) -> list[Row]:
    """Give the peers found below `home`, set up as the benchmark's own README has them."""
    environments, configs = home / "venvs", bench / "cfg"
    port_file = work / "tensorzero.url"
    node = home / "npm/_portkey-ai_gateway/node_modules/@portkey-ai/gateway/build/start-server.js"
    quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR"}
    rows = [
        Row(
            "rolter",
            (f"{environments}/rolter/bin/rolter", "gateway", "-c", f"{configs}/rolter.toml"),
            by="model",
            model="{upstream}",
            environment={"RUST_LOG": "warn"},
            port=4600,
        ),
        Row(
            "tensorzero",
            (
                f"{environments}/tensorzero/bin/python",
                f"{bench}/tz_gateway.py",
                f"{configs}/tensorzero.toml",
                str(port_file),
            ),
            by="model",
            model="tensorzero::model_name::{upstream}",
            path="/openai/v1/chat/completions",
            port_file=port_file,
        ),
        Row(
            "portkey",
            ("node", str(node), "--port={port}", "--headless"),
            by="header",
            skips=frozenset({"sse"}),
        ),
        Row(
            "mlflow",
            (
                f"{environments}/mlflow/bin/mlflow",
                "gateway",
                "start",
                "--config-path",
                f"{configs}/mlflow.yaml",
                "--host",
                "127.0.0.1",
                "--port",
                "{port}",
                "--workers",
                "1",
            ),
            by="model",
            model="{upstream}",
            environment={"MLFLOW_DISABLE_TELEMETRY": "true"},
        ),
        Row(
            "litellm",
            (
                f"{environments}/litellm/bin/litellm",
                "--config",
                f"{configs}/litellm.yaml",
                "--port",
                "{port}",
                "--num_workers",
                "1",
            ),
            by="model",
            model="{upstream}",
            environment=quiet,
        ),
    ]
    found = {"portkey": node}
    return [row for row in rows if found.get(row.name, Path(row.command[0])).exists()]
