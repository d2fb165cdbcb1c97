"""A gateway with a ledger: its config, keys that are minted as the command line mints them, what it wrote."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from llm_policy_host.bookkeeping import keep_accounts, open_ledger
from llm_policy_host.clock import SystemClock
from llm_policy_host.config.load import config_from_data
from llm_policy_host.ledger.event import Draft
from llm_policy_host.ledger.folds import Folds
from llm_policy_host.ledger.keys import make_key_id, mint, root_digest
from llm_policy_host.ledger.verify import verify
from llm_policy_host.store.sqlite import open_sqlite

from .gateway import running

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from .gateway import Running

ROOT = "root-canary-8a55-" + 32 * "r"
ALL = ("call", "stream", "flow", "embed", "read_ledger")
COST = 17
"""What the vendor's usual answer costs, in µUSD: 11 tokens at 1 and 3 at 2 USD per million."""


@dataclass
class Bank:
    """A folder with a ledger, and the config of gateways over it."""

    folder: Path
    origin: str
    host: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        """Give the config: two routes to two families, one of them at two providers."""
        acme, spare = ({"base_url": f"{self.origin}/{name}/v1"} for name in ("acme", "spare"))
        price = {"price_in": 1, "price_out": 2}
        return {
            "providers": {"acme": acme, "spare": spare},
            "models": {
                "small": {
                    "capabilities": {"context": 1000, "embeddings": True},
                    "served_by": [{"provider": "acme", **price}, {"provider": "spare", **price}],
                },
                "big": {"capabilities": {"context": 1000}, "served_by": [{"provider": "acme", **price}]},
            },
            "profiles": {
                "default": {"selector": "ordered"},
                "other": {"selector": "argmax", "scorer": ["field", "price_in"]},
            },
            "defaults": {"profile": "default", "circuit_breaker_threshold": 1_000_000},
            "host": {
                "ledger": {"file": "ledger.db"},
                "keys_root": {"env": "KEYS_ROOT"},
                "audience": "here",
                **self.host,
            },
            **self.more,
        }

    @property
    def environment(self) -> Mapping[str, str]:
        return {"KEYS_ROOT": ROOT, "PLAIN_KEY": "plain-1"}

    def mint(
        self, account: str | None = None, rights: tuple[str, ...] = ALL, *caveats: tuple[str, Any]
    ) -> str:
        """Make a key, as `llm-policy keys mint` does; no gateway may run over the ledger meanwhile."""
        key_id, clock = make_key_id(), SystemClock()
        core = {"key_id": key_id, "rights": sorted(rights), "root_digest": root_digest(ROOT.encode())}
        with self.ledger(clock) as ledger:
            ledger.log.append(Draft("KeyMinted", "operator", "local", core={**core, "account": account}))
        return mint(ROOT.encode(), key_id, rights, caveats)

    @contextmanager
    def ledger(self, clock: SystemClock) -> Iterator[Any]:
        config = config_from_data(self.config, self.folder)
        ledger = open_ledger(config, clock, self.environment)
        ledger.enter()
        try:
            keep_accounts(ledger, config.settings.accounts, clock)
            yield ledger
        finally:
            ledger.leave()

    @contextmanager
    def serving(self) -> Iterator[Running]:
        """Serve until the block ends."""
        with running(self.config, self.environment, directory=self.folder) as gateway:
            yield gateway

    def lines(self) -> list[bytes]:
        store = open_sqlite(self.folder / "ledger.db", mode="read")
        try:
            return list(store.lines())
        finally:
            store.close()

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Give what the ledger holds, judged by the verifier."""
        lines = self.lines()
        assert verify(lines, fold=Folds()).fault is None
        found = [orjson.loads(line) for line in lines]
        return [event for event in found if kind is None or event["type"] == kind]

    @property
    def data(self) -> bytes:
        """Give every byte that was written."""
        return b"".join(file.read_bytes() for file in sorted(self.folder.rglob("*")) if file.is_file())


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def revoke(gateway: Running, key: str) -> None:
    """Take a key back while its gateway serves, as an operator of the same process would."""
    ledger = gateway.host.bookkeeping.ledger
    assert ledger is not None
    with ledger.lock:
        key_id = key.removeprefix("lpk_").partition(".")[0]
        ledger.log.append(Draft("KeyRevoked", "operator", "local", core={"key_id": key_id}))
