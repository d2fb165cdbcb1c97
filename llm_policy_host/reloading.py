"""Reload: a changed config takes the place of the old one whole, or not at all.

The new file is read and checked by the code that reads the first one. Until it is good the last good
host serves, and why the new one was refused stands in `state`. Runs under way end on the host they
began on.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import signal
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from .errors import ConfigError, HostError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from .config.load import Config
    from .ports import Clock
    from .values import Plain

_log = logging.getLogger("llm_policy.reload")

POLL_MS = 1_000
"""How often the files are looked at."""

MAX_REFUSALS = 50
"""How many mistakes of a refused config are logged and shown."""

_PROVIDER = (
    "discovery",
    "discovery_id",
    "base_url",
    "api_kind",
    "auth",
    "auth_env",
    "scope",
    "region",
    "aws_region",
)
"""What makes a provider another one when it changes (spec 2.2): identity and routing target."""


class Reloadable(Protocol):
    """A host as a reload sees it."""

    config: Config

    @property
    def engine(self) -> Any:  # noqa: ANN401 - the core's engine, here or in its child
        """Give the engine, whose health is carried over."""

    async def prepare(self) -> None:
        """Get ready to serve in this loop."""


HostT = TypeVar("HostT", bound=Reloadable)
Stamp = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a config was not taken, and when."""

    at_ms: int
    reasons: tuple[str, ...]


class Reloader(Generic[HostT]):
    """Holds the host that serves now; `current` changes in one step or stays.

    `make` reads and checks a file whole and raises `HostError`; `retire` is given the host that was
    replaced, and lets its runs end; `fixed` are settings that only a restart changes, as paths.
    """

    def __init__(
        self,
        path: Path,
        host: HostT,
        make: Callable[[Path], HostT],
        clock: Clock,
        retire: Callable[[HostT], Awaitable[None]],
        fixed: Sequence[tuple[str, ...]] = (),
    ) -> None:
        self.path = path
        self.current = host
        self.generation = 1
        self.loaded_ms = clock.now_ms()
        self.refusal: Refusal | None = None
        self.needs_restart: tuple[str, ...] = ()
        self._first = host.config
        self._make = make
        self._clock = clock
        self._retire = retire
        self._fixed = tuple(fixed)
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stamp = stamp(watched(path, host.config))
        self.sha256 = digest([path])
        self._digest = digest(watched(path, host.config))

    def state(self) -> dict[str, Plain]:
        """Give what is served and what was refused, as plain data."""
        return {
            "config": str(self.path),
            "generation": self.generation,
            "sha256": self.sha256,
            "loaded_ms": self.loaded_ms,
            "needs_restart": list(self.needs_restart),
            "last_error": None
            if self.refusal is None
            else {"at_ms": self.refusal.at_ms, "reasons": list(self.refusal.reasons)},
        }

    async def reload(self) -> bool:
        """Take the file as it is now; whether it is served from here on."""
        async with self._lock:
            files = watched(self.path, self.current.config)
            before, found, sha256 = stamp(files), digest(files), digest([self.path])
            try:
                host = await self._ready()
            except Exception as error:  # noqa: BLE001 - whatever is wrong with a new config, the old one serves
                self._stamp, self._digest = before, found
                self._refuse(error)
                return False
            self._swap(host, sha256)
            return True

    async def _ready(self) -> HostT:
        """Make the new host ready to serve; of one that cannot be, nothing stays behind."""
        host = await asyncio.to_thread(self._make, self.path)
        is_ready = False
        try:
            await host.prepare()
            carry_health(self.current, host)
            is_ready = True
        finally:
            if not is_ready:
                await self._retire(host)
        return host

    async def look(self) -> None:
        """Reload if a file differs from what was read last, and is no longer being written."""
        files = watched(self.path, self.current.config)
        seen = stamp(files)
        if seen == self._stamp:
            return
        await self._clock.sleep_ms(POLL_MS)
        if stamp(files) != seen:
            return
        if digest(files) == self._digest:
            self._stamp = seen
            return
        await self.reload()

    async def __aenter__(self) -> Self:
        self._spawn(self._watch(), "llm-policy reload")
        with suppress(NotImplementedError, RuntimeError, ValueError):
            # only the main thread of a POSIX system hears signals
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hear)
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _hear(self) -> None:
        self._spawn(self.reload(), "llm-policy SIGHUP")

    async def _watch(self) -> None:
        while True:
            await self._clock.sleep_ms(POLL_MS)
            await self.look()

    def _spawn(self, work: Any, name: str) -> None:  # noqa: ANN401 - a coroutine
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _swap(self, host: HostT, sha256: str | None) -> None:
        old, self.current = self.current, host
        files = watched(self.path, host.config)
        is_as_read = digest([self.path]) == sha256
        self._stamp, self._digest = (stamp(files), digest(files)) if is_as_read else ((), None)
        self.sha256 = sha256
        self.generation += 1
        self.loaded_ms = self._clock.now_ms()
        self.refusal = None
        self.needs_restart = tuple(
            ".".join(at) for at in self._fixed if _at(self._first, at) != _at(host.config, at)
        )
        _log.warning("config %s taken, generation %d", self.sha256, self.generation)
        for key in self.needs_restart:
            _log.warning("`%s` changed: it needs a restart", key)
        self._spawn(self._let_go(old), "llm-policy retire")

    async def _let_go(self, host: HostT) -> None:
        await self._retire(host)

    def _refuse(self, error: Exception) -> None:
        reasons = tuple(islice(_reasons(error), MAX_REFUSALS))
        self.refusal = Refusal(self._clock.now_ms(), reasons)
        _log.error("config refused, generation %d serves on", self.generation)
        for reason in reasons:
            _log.error("%s", reason)


def _reasons(error: Exception) -> Iterator[str]:
    """Say what is wrong; of a defect of ours its class alone, its text may quote the config."""
    if isinstance(error, ConfigError):
        yield from map(str, error.problems)
    else:
        yield str(error) if isinstance(error, HostError) else f"the reload failed ({type(error).__name__})"


def watched(path: Path, config: Config) -> tuple[Path, ...]:
    """Give the config's file and the files that it names: scripts, prices, secrets."""
    settings = config.settings
    named = [script for script in settings.scripts.values() if isinstance(script, str)]
    named += [str(auth["file"]) for auth in config.auths.values() if "file" in auth]
    named += [settings.prices] if settings.prices is not None else []
    return (path, *dict.fromkeys(config.directory / name for name in named))


def stamp(files: Iterable[Path]) -> Stamp:
    """Give what changes with files: writing changes time or size, replacing the number."""
    return tuple(_stamp(file) for file in files)


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def digest(files: Iterable[Path]) -> str | None:
    """Give the sha256 over files, None where the first cannot be read."""
    whole = hashlib.sha256()
    for place, file in enumerate(files):
        try:
            text = file.read_bytes()
        except OSError:
            if place == 0:
                return None
            text = b""
        whole.update(text if place == 0 else hashlib.sha256(text).digest())
    return whole.hexdigest()


def carry_health(old: Reloadable, new: Reloadable) -> None:
    """Give a new engine what the old one learned of the routes that are still the same."""
    if not (hasattr(old.engine, "dump_state") and hasattr(new.engine, "restore_state")):
        return
    same = _same(dict(_routes(old.config.core)), dict(_routes(new.config.core)))
    state = dict(old.engine.dump_state())
    health = dict(state.get("health") or {})
    kept = {
        part: {key: value for key, value in dict(health.get(part) or {}).items() if key in same}
        for part in ("breakers", "disabled")
    }
    prices = {key: value for key, value in dict(state.get("prices") or {}).items() if key in same}
    credits_left = {key: value for key, value in dict(state.get("credits") or {}).items() if key in same}
    state |= {"health": kept, "prices": prices}
    state.pop("credits", None)
    if credits_left:
        state["credits"] = credits_left
    new.engine.restore_state(state)


def _same(old: Mapping[str, Plain], new: Mapping[str, Plain]) -> frozenset[str]:
    return frozenset(key for key, identity in new.items() if key in old and old[key] == identity)


def _routes(core: Mapping[str, Any]) -> Iterator[tuple[str, Plain]]:
    """Give each provider and each route `provider|family`, with what makes it another when it changes."""
    providers: Mapping[str, Any] = core.get("providers") or {}
    identities = {name: [provider.get(key) for key in _PROVIDER] for name, provider in providers.items()}
    yield from identities.items()
    routes: dict[str, list[Plain]] = {}
    for family, model in (core.get("models") or {}).items():
        for route in model.get("served_by") or ():
            name = str(route.get("provider"))
            own = [identities.get(name), route.get("provider_model_id"), route.get("scope")]
            routes.setdefault(f"{name}|{family}", []).append(own)
    yield from routes.items()


def _at(config: Config, path: Iterable[str]) -> Plain:
    value = config.document.data
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value
