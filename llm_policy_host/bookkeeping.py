"""A host's ledger, as its config has it: the store opened, the accounts as written, books over both.

It is opened when the first run is to be driven, not before: a config is also checked, ranked by and
explained while another process serves it.
"""

from __future__ import annotations

import itertools
import threading
from base64 import b32encode
from contextlib import ExitStack, closing
from hashlib import sha256
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

from .clock import VirtualClock
from .config.key_root import read_content_key
from .content.keep import ContentKeep
from .content.sealing import Digests
from .errors import LedgerError
from .gating import make_desk
from .ledger.amounts import micro_usd
from .ledger.books import LedgerBooks, RunIds
from .ledger.event import Draft
from .ledger.folds import Folds
from .ledger.recovery import Recovery, open_log
from .run.estimate import Estimator
from .run.nobooks import NoBooks
from .run.resumption import NOT_RESUMABLE
from .store.contents import ContentFile
from .store.memory import MemoryStore
from .store.opening import open_store
from .store.retention import DAY_MS, retire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from .config.load import Config
    from .core.child import ChildEngine
    from .core.engine import LuaEngine
    from .core.gates import Judge
    from .ledger.log import Log
    from .ports import Books, Clock, Keep, Pricer, SecretSource
    from .values import Plain

_LIMITS: Final = ("usd", "tokens", "calls")
TEXT_LEVELS: Final = ("sealed", "plain")
"""Levels of content at which texts are kept."""

CONTENT_FILE: Final = "content.db"
LEFT_OUT: Final = ("profiles", "policy_envelope", "retry_policies", "customs")
"""What of a config its policies' terms hold already."""


class Ledger:
    """The one log of a process; hosts that take each other's place write it in turn."""

    def __init__(
        self,
        log: Log,
        recovery: Recovery,
        *,
        durability: str = "batch",
        new_id: Callable[[], str] | None = None,
    ) -> None:
        self.log = log
        self.recovery = recovery
        self.durability = durability
        self.new_id = new_id or RunIds()
        self.lock = threading.Lock()
        self.is_published = False
        self._users = 0

    @property
    def folds(self) -> Folds:
        """Give the balances and keys as the log has them now."""
        fold = self.log.chain.fold
        assert isinstance(fold, Folds)  # noqa: S101 - as `open_ledger` makes it
        return fold

    def enter(self) -> None:
        """Use it."""
        self._users += 1

    def leave(self) -> None:
        """Use it no longer; the last one closes it."""
        self._users -= 1
        if not self._users:
            self.log.close()


class Bookkeeping:
    """One host's books: opened on first use, over the ledger of the host before or one of its own."""

    def __init__(  # noqa: PLR0913 - the composition root fills it
        self,
        config: Config,
        clock: Clock,
        environment: Mapping[str, str],
        pricer: Pricer,
        ledger: Ledger | None,
        *,
        secrets: SecretSource,
        judge: Judge | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._environment = environment
        self._pricer = pricer
        self._secrets = secrets
        self._judge = judge
        self._lock = threading.Lock()
        self._books: LedgerBooks | None = None
        self.ledger = ledger
        self.keep: Keep | None = None
        """Where what is said may be kept, once the books are open."""
        self.is_kept = ledger is not None or bool(config.settings.ledger)

    def open(self, engine: LuaEngine | ChildEngine, identify: Callable[[Plain], str]) -> Books:
        """Give the books; `identify` gives a term's identity."""
        if not self.is_kept:
            return NoBooks()
        with self._lock:
            if self._books is None:
                self._books = self._opened(engine, identify)
            return self._books

    async def close(self) -> None:
        """Let runs that were left say their last, and let go of the ledger."""
        books, self._books = self._books, None
        if books is None or self.ledger is None:
            return
        with ExitStack() as ending:
            ending.callback(self.ledger.leave)
            ending.callback(self._leave_contents, books)
            await books.close()

    def _leave_contents(self, books: LedgerBooks) -> None:
        if self.keep is not None:
            self.keep.close()
            books.note(books.faults())

    def _opened(self, engine: LuaEngine | ChildEngine, identify: Callable[[Plain], str]) -> LedgerBooks:
        settings = self._config.settings
        given = self.ledger
        ledger = self.ledger = given or open_ledger(self._config, self._clock, self._environment)
        payer = settings.ledger.get("account")
        core = {name: value for name, value in self._config.core.items() if name not in LEFT_OUT}
        ledger.enter()
        try:
            keep_accounts(ledger, settings.accounts, self._clock)
            self.keep = open_keep(self._config, self._clock, self._secrets)
            books = LedgerBooks(
                ledger.log,
                self._clock,
                engine,
                core,
                Estimator(self._pricer).estimate,
                self._pricer,
                new_id=ledger.new_id,
                is_strict=ledger.durability == "strict",
                lock=ledger.lock,
                payers=ledger.folds.accounts.path(payer) if payer else (),
                keep=self.keep,
                desk=make_desk(self._config, self._clock, self._secrets, lambda: ledger.folds, self._judge),
            )
            terms = dict(self._terms(engine, identify))
            if not ledger.is_published and settings.content.get("level") not in TEXT_LEVELS:
                books.note(_unkept(ledger))
            version = None if ledger.is_published else metadata.version("llm-policy")
            books.publish(
                terms, version=version, runtime=settings.runtime or "default", durability=ledger.durability
            )
            ledger.is_published = True
        except BaseException:
            if self.keep is not None:
                self.keep.close()
            ledger.leave()
            self.ledger, self.keep = given, None
            raise
        return books

    def _terms(
        self, engine: LuaEngine | ChildEngine, identify: Callable[[Plain], str]
    ) -> Iterator[tuple[str, tuple[str, Plain]]]:
        """Give each profile's policy; one with functions of its own has no term."""
        for name in self._config.core.get("profiles") or ():
            term = engine.profile_term(name)
            if term is not None:
                yield name, (identify(term), term)


def open_ledger(config: Config, clock: Clock, environment: Mapping[str, str]) -> Ledger:
    """Open the ledger that a config names, for writing."""
    settings = config.settings.ledger
    durability = settings.get("durability", "batch")
    store = open_store(settings, config.directory, environment)
    try:
        log, recovery = open_log(store, clock, Folds)
        if "retain_days" in settings:
            retire(log, store, clock.now_ms() - settings["retain_days"] * DAY_MS)
    except BaseException:
        store.close()
        raise
    is_virtual = isinstance(clock, VirtualClock)
    return Ledger(
        log,
        recovery,
        durability=durability,
        new_id=counted_ids(log.seq) if is_virtual else None,
    )


def _unkept(ledger: Ledger) -> list[Draft]:
    """Give what ends the flows of a process that is gone, where no texts are kept to go on from."""
    core = {"attempts": 0, "error": NOT_RESUMABLE}
    flows = (ledger.log.chain.lineage.open.get(run) for run in ledger.recovery.resumable)
    return [
        Draft("RunFailed", "host", flow.tenant, flow.id, core=core)
        for flow in flows
        if flow is not None and flow.is_flow
    ]


def open_keep(config: Config, clock: Clock, secrets: SecretSource) -> ContentKeep | None:
    """Open the content plane as a config has it; None where nothing is kept (spec 5.6)."""
    settings = config.settings
    level = settings.content.get("level", "none")
    if level not in TEXT_LEVELS:
        _expire(config, clock)
    if level == "none":
        return None
    root = read_content_key(settings, secrets)
    store = None if level == "digest" else open_contents(config, root)
    return ContentKeep(store, root, level, clock, retain_days=settings.content.get("retain_days"))


def _expire(config: Config, clock: Clock) -> None:
    """Forget what is too old of what was kept at a higher level."""
    days = config.settings.content.get("retain_days")
    if days is not None and content_path(config).exists():
        with closing(open_contents(config, None)) as store:
            store.expire(clock.now_ms() - days * DAY_MS)


def open_contents(config: Config, root: bytes | None) -> ContentFile:
    """Open the file of a config's content; who has no key can count and purge."""
    return ContentFile(content_path(config), None if root is None else Digests(root).check)


def content_path(config: Config) -> Path:
    """Say where a config's content lies."""
    path: Path = config.directory / config.settings.content.get("file", CONTENT_FILE)
    return path


def memory_ledger(clock: Clock, new_id: Callable[[], str] | None = None) -> Ledger:
    """Make a ledger that ends with its process: for tests and measurements."""
    log, recovery = open_log(MemoryStore(), clock, Folds)
    return Ledger(log, recovery, new_id=new_id)


def counted_ids(seq: int = 0) -> Callable[[], str]:
    """Make run ids that are always the same behind an event, for runs that are played again."""
    count, which = itertools.count(), b"run %d " % seq if seq else b"run "
    return lambda: "run-" + b32encode(sha256(b"%s%d" % (which, next(count))).digest())[:26].decode().lower()


def keep_accounts(ledger: Ledger, wanted: Mapping[str, Mapping[str, Any]], clock: Clock) -> None:
    """Open the config's accounts that are not there, and adjust those that are otherwise."""
    for name in _downwards(wanted):
        core = _account(name, wanted[name])
        if name not in ledger.folds.accounts and _is_opened(ledger, core):
            continue
        found = ledger.folds.accounts.balance(name, clock.now_ms())
        if found.parent != core.get("parent"):
            detail = f"the ledger has it below `{found.parent}`, and an account stays where it is"
            raise LedgerError("account", f"host.accounts.{name}", detail)
        if (dict(found.limits), found.window, found.is_shadow) != (
            core["limits"],
            core["window"],
            core["is_shadow"],
        ):
            core.pop("parent", None)
            _note(ledger, Draft("AccountAdjusted", "host", "local", core=core))


def _is_opened(ledger: Ledger, core: dict[str, Any]) -> bool:
    """Open an account, unless a host that shares the ledger did so meanwhile."""
    try:
        _note(ledger, Draft("AccountOpened", "host", "local", core=core))
    except LedgerError as error:
        if error.code != "account_exists":
            raise
        return False
    return True


def _note(ledger: Ledger, draft: Draft) -> None:
    with ledger.lock:
        if not ledger.log.is_shared:
            ledger.log.append(draft)
            return
        made = ledger.log.commit([draft])[0]
    if isinstance(made, LedgerError):
        raise made


def _account(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    limits = {"usd_micro" if key == "usd" else key: given[key] for key in _LIMITS if key in given}
    if "usd_micro" in limits:
        limits["usd_micro"] = micro_usd(limits["usd_micro"])
    core = {
        "account": name,
        "is_shadow": given.get("shadow", False),
        "limits": limits,
        "window": given.get("window", "lifetime"),
    }
    return {**core, "parent": given["parent"]} if "parent" in given else core


def _downwards(wanted: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
    """Give accounts so that each comes after its parent; the config was checked for circles."""
    made: list[str] = []

    def take(name: str) -> None:
        if name in wanted and name not in made:
            parent = wanted[name].get("parent")
            if parent is not None:
                take(parent)
            made.append(name)

    for name in sorted(wanted):
        take(name)
    return made
