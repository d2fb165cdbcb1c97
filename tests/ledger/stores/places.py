"""Where a ledger of the tests lies: opened as often as they like, by this process or another."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_policy_host.clock import SystemClock
from llm_policy_host.ledger.log import Log
from llm_policy_host.ledger.recovery import open_log
from llm_policy_host.ledger.verify import Verdict, verify
from llm_policy_host.store.postgres import open_postgres
from llm_policy_host.store.sqlite import open_sqlite
from tests.ledger.drafts import draft

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llm_policy_host.store.durable import Durability, DurableStore, Mode


class Place:
    """A ledger's file, or the URL of its database, and the folder of its archive."""

    def __init__(self, where: str, archive: Path) -> None:
        self.where = where
        self.archive = archive

    @property
    def is_file(self) -> bool:
        return not self.where.startswith("postgresql:")

    def open(self, mode: Mode = "exclusive", durability: Durability = "batch") -> DurableStore:
        if self.is_file:
            return open_sqlite(Path(self.where), durability, mode, self.archive)
        return open_postgres(self.where, durability, mode, self.archive)

    @contextmanager
    def opened(self, mode: Mode = "exclusive", **how: Any) -> Iterator[DurableStore]:
        store = self.open(mode, **how)
        try:
            yield store
        finally:
            store.close()

    @contextmanager
    def log(self, mode: Mode = "exclusive", **how: Any) -> Iterator[Log]:
        with self.opened(mode, **how) as store:
            yield open_log(store, SystemClock())[0]

    def lines(self) -> list[bytes]:
        with self.opened("read") as store:
            return list(store.lines())

    def lines_and_one_more(self) -> list[bytes]:
        """Give the lines, and see that another one follows them."""
        with self.opened(durability="off") as store:
            lines = list(store.lines())
            log = Log(store, SystemClock())
            log.follow(lines)
            log.append(draft("BackgroundFault"))
            assert len(list(store.lines())) == len(lines) + 1
        return lines

    def verdict(self) -> Verdict:
        with self.opened("read") as store:
            return verify(store.lines(), store.blob_get)
