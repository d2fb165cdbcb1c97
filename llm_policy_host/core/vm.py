"""Lua runtimes: chosen by name, cut off from Python and the machine, with the core loaded."""

from __future__ import annotations

import importlib
import platform
import threading
from typing import TYPE_CHECKING, Any, NoReturn

from llm_policy_host.errors import CoreError, HostError

from .marshal import Reader, from_lua, to_lua
from .sources import core_sources, host_source

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_policy_host.values import Plain

RUNTIMES = ("luajit21", "lua54", "lua53", "lua55", "lua52", "lua51")
"""What lupa may carry, fastest first (measured: LuaJIT plans 3 to 4 times faster than 5.4)."""

PUC_RUNTIMES = ("lua54", "lua53", "lua55")
"""Runtimes whose instruction hooks always fire: what operator Lua runs on."""


def available_runtimes() -> tuple[str, ...]:
    """List the runtimes that this platform has, fastest first."""
    return tuple(name for name in RUNTIMES if _find_module(name) is not None)


def default_runtime() -> str:
    """Name the fastest runtime that this platform has."""
    names = available_runtimes()
    if not names:
        raise HostError("lupa has no Lua runtime on this platform")
    return names[0]


def _find_module(name: str) -> Any:  # noqa: ANN401 - lupa has no types
    try:
        return importlib.import_module(f"lupa.{name}")
    except ImportError:
        return None


def _refuse(_obj: object, _name: object, _is_setting: object) -> NoReturn:
    raise AttributeError("nothing of Python is visible to Lua")


class Vm:
    """One Lua runtime with the core in it; one thread at a time may use it."""

    def __init__(self, runtime: str | None = None, *, max_memory: int | None = None) -> None:
        self.name = runtime or default_runtime()
        module = _find_module(self.name) if self.name in RUNTIMES else None
        if module is None:
            raise HostError(
                f"the runtime `{self.name}` is not available here: {', '.join(available_runtimes())}"
            )
        self._error: type[Exception] = module.LuaError
        self._type_of: Callable[[object], str | None] = module.lua_type
        self._lua = module.LuaRuntime(
            encoding=None,
            source_encoding="utf-8",
            register_eval=False,
            register_builtins=False,
            attribute_filter=_refuse,
            unpack_returned_tuples=True,
            max_memory=max_memory,
        )
        implementation: bytes = self._lua.lua_implementation  # asked now: what tells it is scrubbed
        self.version = implementation.decode()
        # PUC 5.1 and LuaJIT fuse nothing on x86; old LuaJIT on arm64 does (spec 2, platform gate)
        if self.name.startswith("luajit") and platform.machine() in {"arm64", "aarch64"}:
            self._lua.execute(b"jit.off()")
        if self.name.startswith("luajit") and max_memory is None:
            # its collector, left to itself, takes a third of a decision; this costs 3 MB
            self._lua.execute(b"collectgarbage('setpause', 400)")
        try:
            self.face, self.kept = self._lua.execute(host_source("bootstrap.lua"), self._source_table())
        except self._error as error:
            raise CoreError(f"the core does not load on {self.name}: {error}") from error

    def _source_table(self) -> Any:  # noqa: ANN401 - lupa has no types
        return self._lua.table_from({name.encode(): text for name, text in core_sources().items()})

    def load(self, source: bytes) -> Callable[..., Any]:
        """Compile a chunk of the host's own Lua; it is called with Lua values."""
        chunk: Callable[..., Any] = self._lua.compile(source)
        return chunk

    def call(self, function: Callable[..., Any], *values: object) -> Any:  # noqa: ANN401 - lupa has no types
        """Call a Lua function with Lua values; an error there is ours."""
        try:
            return function(*values)
        except self._error as error:
            raise CoreError(str(error)) from error

    @property
    def table_from(self) -> Callable[..., Any]:
        """Give lupa's own maker of tables: unchecked, for measurements only."""
        maker: Callable[..., Any] = self._lua.table_from
        return maker

    def to_lua(self, value: Plain) -> Any:  # noqa: ANN401 - lupa has no types
        """Give plain data the form it has in this runtime."""
        return to_lua(self._lua, value)

    def from_lua(self, value: object, show: Callable[[str], Plain] | None = None) -> Plain:
        """Give a Lua value the form it has in Python; `show` may stand in for what is not plain."""
        return from_lua(Reader(self._type_of, show), value)


class VmPool:
    """One runtime per thread, made when the thread first asks (1 to 2 ms, 0.3 MB each).

    For work without state: a policy's identity, a config's check. Health is one state and
    lives in one engine, never in a pool.
    """

    def __init__(self, runtime: str | None = None) -> None:
        self._runtime = runtime
        self._local = threading.local()

    def vm(self) -> Vm:
        """Give this thread's runtime."""
        vm: Vm | None = getattr(self._local, "vm", None)
        if vm is None:
            vm = self._local.vm = Vm(self._runtime)
        return vm
