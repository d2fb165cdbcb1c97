"""One GenVM LLM module: a Lua 5.3 VM over the strict fakes, a script in it, and backends that answer.

Whatever the script does that the Rust side would not take is a violation, also where the script guards the
call, and fails the call it happened in. Asynchronous natives are served between two steps of a call, so
that a test may interleave the calls of several sessions.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lupa.lua53 import LuaRuntime, lua_type

from .backends import NULL, TEMPLATES, in_generation, with_nulls
from .natives import ModuleKilledError, Natives
from .payload import PayloadError, Reader, to_lua
from .task import Session, Task, as_tuple
from .values import Answer, Failure, NativeError, NativeRaisedError, Opaque, Outcome, Rat, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
FAKES = Path(__file__).parent / "fakes"
DISPATCH = ROOT / "genvm" / "dispatch.lua"

Generation = Literal["0.2", "0.6"]
GENERATIONS: tuple[Generation, ...] = ("0.2", "0.6")

LLM_SYNC = ("exhaust",)
LLM_ASYNC = ("exec_prompt_in_provider",)
DFLT_SYNC = (
    *("log_json", "user_error", "as_user_error", "filter_text", "filter_image", "random_bytes"),
    *("random_float", "json_parse", "json_stringify", "monotonic_ms"),
)
DFLT_ASYNC = ("sleep_seconds",)
ABSENT: dict[str, frozenset[str]] = {
    "0.2": frozenset({"exhaust", "monotonic_ms"}),
    "0.6": frozenset(),
}

BOOL_TEMPLATES = {"EqComparative", "EqNonComparativeValidator"}


class StrictError(AssertionError):
    """The script did what the Rust side does not take."""


def genvm_libraries() -> Path | None:
    """Find the directory of GenVM's own libraries; nothing where it is not told of."""
    told = os.environ.get("GENVM_LUA_DIR")
    found = sorted(Path(told).rglob("lib-llm.lua")) if told else []
    return found[0].parent if found else None


def default_script(request: Request) -> Any:
    """Answer whatever is asked."""
    return {"text": f"text of {request.pair}", "json": {"from": request.pair}, "bool": True}[request.format]


class World:
    """A module of one generation, with its script loaded."""

    def __init__(
        self,
        generation: Generation = "0.6",
        backends: Mapping[str, Any] | None = None,
        *,
        script: Callable[[Request], Any] = default_script,
        path: Path = DISPATCH,
        files: Mapping[str, str] | None = None,
        without: frozenset[str] | set[str] = frozenset(),
        seed_bytes: bytes = b"seed",
        timeout: float | None = None,
        meta: Mapping[str, Any] | None = None,
        consumed_gen: Callable[[Any], Any] | None = None,
        libraries: Path = FAKES,
        shuffle: bool = True,
        log_fails: bool = False,
        random_state: int | None = None,
        remaining_gen: int = 10**6,
        compares_rat: bool = False,
        tick_ms: int = 0,
        on_raise: Callable[[NativeError], object] | None = None,
    ) -> None:
        self.generation, self.script, self.log_fails = generation, script, log_fails
        self.logs: list[dict[str, Any]] = []
        self.calls: list[Request] = []
        self.sleeps: list[float] = []
        self.text_filters: list[list[str]] = []
        self.image_filters: list[list[dict[str, Any]]] = []
        self.violations: list[str] = []
        self.exhausted, self.now_ms, self.is_killed, self.is_loaded = 0, 1_000_000, False, False
        self._sessions: dict[int, Session] = {}
        self._consumed_gen = consumed_gen
        self.remaining_gen, self._compares_rat = remaining_gen, compares_rat
        self._on_raise, self.tick_ms = on_raise, tick_ms
        self.lua = LuaRuntime(
            encoding=None,
            unpack_returned_tuples=True,
            register_eval=False,
            register_builtins=False,
            attribute_filter=_refuse,
        )
        self.reader = Reader(self.lua)
        self.byte_reader = Reader(self.lua, is_text=False)
        self._answers = Reader(self.lua, null=NULL)
        if random_state is not None:
            self.lua.eval(b"math.randomseed")(random_state)
        self.natives = Natives(self, seed_bytes)
        absent = ABSENT[generation] | without
        options = {"path": self._package_path(path, libraries, files or {}), "shuffle": shuffle}
        self.executor: Any = self.lua.compile((FAKES / "executor.lua").read_bytes())(
            self._native_table(absent), self.report, to_lua(self.lua, options)
        )
        values: dict[str, Any] = {
            "providers": in_generation(dict(backends or {}), generation),
            "templates": TEMPLATES,
        }
        values["meta"] = meta or (NULL if generation == "0.2" else {})
        if timeout is not None:
            values["timeout"] = timeout
        self._open(absent, values)
        self._shared = self.executor.shared() if libraries == FAKES else None
        status, *rest = as_tuple(self.executor.load(str(path).encode()))
        self.load_error = self.raised(rest[0]) if status == b"raised" else None
        self.is_loaded = status == b"done"
        self.load_logs = list(self.logs)
        self._globals = self.executor.globals()
        self.check()

    # Opening ---------------------------------------------------------------------------------------

    def _package_path(self, script: Path, libraries: Path, files: Mapping[str, str]) -> str:
        directory = Path(tempfile.mkdtemp(prefix="genvm-"))
        self._finalizer = weakref.finalize(self, shutil.rmtree, directory, ignore_errors=True)
        for name, text in files.items():
            (directory / name).write_text(text, "utf-8")
        return ";".join(f"{each}/?.lua" for each in (directory, ROOT / "lua", script.parent, libraries))

    def _native_table(self, absent: frozenset[str]) -> Any:
        table = self.lua.table()
        for name in (*LLM_SYNC, *DFLT_SYNC):
            if name not in absent:
                table[name.encode()] = self._guarded(getattr(self.natives, name))
        return table

    def _guarded(self, native: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> tuple[bool, Any]:
            return self._settled(lambda: native(*arguments))

        return call

    def _settled(self, act: Callable[[], Any]) -> tuple[bool, Any]:
        """Give Lua what a native gives; a complaint is raised there and noted here."""
        try:
            return True, to_lua(self.lua, act())
        except NativeRaisedError as raised:
            return False, raised.error
        except ModuleKilledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever fails below Lua must not unwind through it
            self.report(f"{type(error).__name__}: {error}")
            return False, NativeError(None, str(error))

    def _open(self, absent: frozenset[str], values: dict[str, Any]) -> None:
        def part(sync: tuple[str, ...], asynchronous: tuple[str, ...], values: dict[str, Any]) -> Any:
            names = {"sync": sync, "async": asynchronous}
            kept = {key: [each for each in row if each not in absent] for key, row in names.items()}
            return to_lua(self.lua, {**kept, "values": values})

        self.executor.open(part(LLM_SYNC, LLM_ASYNC, values), part(DFLT_SYNC, DFLT_ASYNC, {}))

    # Sessions and calls ----------------------------------------------------------------------------

    def open_session(
        self, genvm_id: str = "7", host_data: Mapping[str, Any] | None = None, role: str = "validator"
    ) -> Session:
        """Make a session's ctx; from v0.6 the VM is checked out for it and set up."""
        if self.generation != "0.2" and self._sessions:
            raise RuntimeError("a VM of v0.6 serves one session at a time")
        given = {"node_address": "0xab", "tx_id": "0x01"} if host_data is None else dict(host_data)
        ctx = to_lua(
            self.lua,
            {
                "genvm_id": genvm_id,
                "role": role,
                "host_data": given,
                "gas_data": {},
                "__ctx_llm": Opaque("ctx_llm"),
                "__ctx_dflt": Opaque("ctx_dflt"),
            },
        )
        session = Session(genvm_id, ctx)
        self._sessions[self.reader.identify(ctx)] = session
        self._hook("Setup", session)
        return session

    def close_session(self, session: Session) -> None:
        """End a session; the VM is given back."""
        self._hook("Teardown", session)
        del self._sessions[self.reader.identify(session.ctx)]

    @contextmanager
    def session(self, *arguments: Any, **named: Any) -> Iterator[Session]:
        """Hold a session open."""
        session = self.open_session(*arguments, **named)
        yield session
        self.close_session(session)

    def _hook(self, name: str, session: Session) -> None:
        if self.generation == "0.2" or not self.executor.has(name.encode()):
            return
        outcome = Task(self, name, [session.ctx], None).run()
        if outcome.error is not None:
            raise StrictError(f"{name} raises {outcome.error!r}")

    def session_of(self, ctx: Any) -> Session | None:
        """Find the session whose ctx this is."""
        return self._sessions.get(self.reader.identify(ctx)) if lua_type(ctx) == "table" else None

    def start(self, session: Session, args: Mapping[str, Any], function: str = "ExecPrompt") -> Task:
        """Begin a call of the script."""
        if "template" in args:
            function, wanted = "ExecPromptTemplate", "bool" if args["template"] in BOOL_TEMPLATES else "text"
        else:
            args = {"response_format": "text", "images": [], **args}
            wanted = args["response_format"]
        return Task(self, function, [session.ctx, to_lua(self.lua, args), self._budget()], wanted)

    def _budget(self) -> Any:
        if self.generation == "0.2":
            return self.remaining_gen
        return self._rat(self.remaining_gen)

    def _rat(self, amount: int) -> Any:
        rat = Rat(amount)
        return self.executor.rat(rat, amount) if self._compares_rat else rat

    def exec_prompt(self, session: Session, args: Mapping[str, Any]) -> Outcome:
        """Run a prompt to its end."""
        return self.start(session, args).run()

    def exec_prompt_template(self, session: Session, args: Mapping[str, Any]) -> Outcome:
        """Run a template to its end."""
        return self.start(session, args).run()

    def ask(self, prompt: str = "hello", **more: Any) -> Outcome:
        """Run a prompt in a session of its own."""
        with self.session() as session:
            return self.exec_prompt(session, {"prompt": prompt, **more})

    # Serving ---------------------------------------------------------------------------------------

    def served(self, task: Task, name: bytes, *arguments: Any) -> tuple[bool, Any]:
        """Do what an asynchronous native does."""
        if name == b"sleep_seconds":
            return self._settled(lambda: self._sleep(*arguments))
        return self._settled(lambda: self._exec(task, *arguments))

    def _sleep(self, seconds: Any = None) -> None:
        try:
            value = self.natives.check_sleep(seconds)
        except ModuleKilledError:
            self.is_killed = True
            raise
        self.sleeps.append(value)
        self.now_ms += int(value * 1000)

    def _exec(self, task: Task, ctx: Any = None, req: Any = None) -> dict[str, Any]:
        request = self.natives.request_of(ctx, req)
        models = self.executor_models(request.provider)
        if request.model not in models:
            raise PayloadError(f"no model `{request.pair}`")
        self.calls.append(request)
        task.calls.append(request)
        said = self.script(request)
        if not isinstance(said, Answer | Failure):
            said = Answer(said)
        self.now_ms += said.latency_ms
        if isinstance(said, Failure):
            error = said.error()
            if self._on_raise is not None:
                self._on_raise(error)
            raise NativeRaisedError(error)
        return self._answer(request, said)

    def executor_models(self, provider: str) -> set[str]:
        """List the enabled models of a backend."""
        row = self.lua.globals()[b"__llm"][b"providers"][provider.encode()]
        if row is None:
            return set()
        return {name.decode() for name, each in row[b"models"].items() if each[b"enabled"]}

    def _answer(self, request: Request, said: Answer) -> dict[str, Any]:
        data = said.data
        if request.format == "json":
            data = with_nulls(data) if self.generation == "0.2" else json.dumps(data)
        consumed = said.consumed_gen if self.generation == "0.2" else self._rat(said.consumed_gen)
        if self._consumed_gen is not None:
            consumed = self._consumed_gen(consumed)
        return {"data": data, "consumed_gen": consumed}

    # Judging ---------------------------------------------------------------------------------------

    def report(self, violation: str | bytes) -> None:
        """Note what the Rust side does not take."""
        self.violations.append(violation.decode() if isinstance(violation, bytes) else violation)

    def check(self) -> None:
        """Raise where there was a violation."""
        if self.is_loaded and self.executor.globals() != self._globals:
            self.report("a call left a global behind")
        if self._shared is not None and self.executor.shared() != self._shared:
            self.report("a table that sessions share was changed")
        if self.violations:
            raise StrictError("; ".join(self.violations))

    def raised(self, error: Any) -> Any:
        """Read what was raised: a native error, or text."""
        if isinstance(error, bytes):
            return error.decode("utf-8", "replace")
        if not isinstance(error, NativeError):
            self.report(f"an error of another kind than text or a native one: {lua_type(error)}")
        return error

    def answered(self, answer: Any, wanted: str | None, calls: list[Request]) -> Outcome:
        """Check what the script returns."""
        if wanted is None:
            return Outcome(calls=calls)
        if lua_type(answer) != "table":
            raise StrictError(f"the answer is no table but {answer!r}")
        consumed = answer[b"consumed_gen"]
        data = self._answers.read(answer[b"data"], "answer.data")
        shapes = {"text": str, "bool": bool, "json": dict if self.generation == "0.2" else str}
        if type(data) is not shapes[wanted]:
            raise StrictError(f"the answer's data for {wanted} is {data!r}")
        if wanted == "json" and isinstance(data, str):
            data = json.loads(data)
        is_counted = type(consumed) is int and consumed >= 0
        if not is_counted and (
            self.generation == "0.2"
            or not (consumed is None or isinstance(consumed, Rat) or lua_type(consumed) == "userdata")
        ):
            raise StrictError(f"consumed_gen is {consumed!r}")
        return Outcome(data=data, consumed_gen=consumed, calls=calls)


def _refuse(_obj: object, _name: object, _is_setting: object) -> str:
    raise AttributeError("a userdata has no fields")
