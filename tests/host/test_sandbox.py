"""Operator Lua: what it may do, and every way out that we know of."""

from __future__ import annotations

import time

import pytest

from llm_policy_host.core.child import evaluate_in_child
from llm_policy_host.core.sandbox import Allowance, evaluate
from llm_policy_host.core.vm import RUNTIMES, Vm, available_runtimes
from llm_policy_host.errors import SandboxError

SMALL = Allowance(instructions=200_000, memory_bytes=24 * 1024 * 1024)

GONE = [
    "python", "io", "os", "package", "debug", "load", "loadstring", "loadfile", "dofile", "collectgarbage",
    "coroutine", "getmetatable", "getfenv", "setfenv", "newproxy", "ffi", "jit", "print", "string.dump",
    "math.random", "_G.python", "_G.io", "_ENV.os",
]  # fmt: skip


@pytest.mark.parametrize("name", GONE)
def test_what_reaches_the_machine_is_gone(name: str) -> None:
    assert evaluate(f"return {{ gone = {name} == nil }}".encode()) == {"gone": True}


@pytest.mark.parametrize("name", [*GONE, "string", "llm_policy.base.json", "llm_policy.engine.engine"])
def test_only_the_core_can_be_required(name: str) -> None:
    with pytest.raises(SandboxError, match="only `llm_policy`"):
        evaluate(f"return require('{name}')".encode())


@pytest.mark.parametrize("name", available_runtimes())
@pytest.mark.parametrize(
    "gone", ["python", "io", "os", "package", "debug", "load", "loadstring", "dofile", "jit"]
)
def test_the_cores_own_runtime_is_scrubbed_too(name: str, gone: str) -> None:
    vm = Vm(name)
    assert vm.call(vm.load(f"return {gone} == nil".encode()))


def test_every_runtime_of_this_platform_is_known() -> None:
    assert set(available_runtimes()) <= set(RUNTIMES)


@pytest.mark.parametrize(
    "source",
    [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "local function f() return pcall(f) end while true do f() end",
        "while true do xpcall(function() while true do end end, function() while true do end end) end",
        "xpcall(error, function() while true do end end)",
        "local t = setmetatable({}, {__index = function(t, k) while true do end end}) return {a = t.x}",
        "local t = {} for i = 1, 200 do t[i] = -i end table.sort(t, function() while true do end end)",
        "return ('x'):rep(100):gsub('.', function() while true do end end)",
        "local s = setmetatable({}, {__tostring = function() while true do end end}) tostring(s)",
        "for _ in pairs(setmetatable({}, {__pairs = function() while true do end end})) do end",
    ],
)
def test_no_pcall_outlives_the_allowance_of_instructions(source: str) -> None:
    started = time.monotonic()
    with pytest.raises(SandboxError, match="allowance"):
        evaluate(source.encode(), SMALL)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "source",
    [
        "return string.rep('x', 1e9)",
        "return ('x'):rep(2^40)",
        "return ('x'):rep(10, ('y'):rep(1e6))",
        "return ('a'):rep(10000):find('.-.-.-.-b')",
        "return ('a'):rep(10000):match('.-.-.-.-b')",
        "return ('a'):rep(10000):gsub('.-.-.-.-b', '')",
        "for _ in ('a'):rep(10000):gmatch('.-.-.-.-b') do end",
        "local t = {} for i = 1, 100 do t[i] = ('x'):rep(1e5) end return table.concat(t)",
        "return string.format('%s%s', ('x'):rep(1e6), ('x'):rep(1e6))",
        "return string.format('%p', {})",
    ],
)
def test_one_call_cannot_cost_without_bound(source: str) -> None:
    started = time.monotonic()
    with pytest.raises(SandboxError, match="beyond what a config may ask for"):
        evaluate(source.encode(), SMALL)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "source",
    [
        "local t = {} local i = 0 while true do i = i + 1 t[i] = {i} end",
        "local s = 'x' while true do s = s .. s end",
        "local t = {} for i = 1, 40 do t = {t, t, ('x'):rep(1e6)} t[i] = ('y' .. i):rep(5e5) end return #t",
    ],
)
def test_memory_is_bounded(source: str) -> None:
    with pytest.raises(SandboxError):
        evaluate(source.encode(), Allowance(memory_bytes=16 * 1024 * 1024))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("return setmetatable({}, {__gc = function() end})", "`__gc` is not allowed"),
        ("return {f = function() end}", "plain data"),
        ("local t = {} t.t = t return t", "nested deeper"),
        ("error({})", "no text"),
        ("error()", "no text"),
        ("error('\\255')", "\udcff"),
        ("return nil + 1", "config:1: attempt to perform arithmetic"),
        ("\n\nreturn {", "config:3: unexpected symbol|config:3: '}' expected"),
        ("\x1bLua", "attempt to load"),
        ("('x').y.z = 1", "config:1"),
    ],
)
def test_a_config_that_is_none_says_why(source: str, reason: str) -> None:
    with pytest.raises(SandboxError, match=reason):
        evaluate(source.encode())


def test_the_metatable_of_texts_is_locked() -> None:
    with pytest.raises(SandboxError, match="attempt to call"):
        evaluate(b"return getmetatable('').__index")
    source = b"local ok = pcall(setmetatable, '', {}) return {ok = ok, dump = ('x').dump == nil, rep = ('ab'):rep(2)}"
    assert evaluate(source) == {"ok": False, "dump": True, "rep": "abab"}


def test_the_core_keeps_its_own_library_functions() -> None:
    source = b"string.byte, string.sub, table.concat, type = nil, nil, nil, nil return {ok = require('llm_policy').dsl ~= nil}"
    assert evaluate(source) == {"ok": True}


def test_plain_data_comes_out_of_a_child_process() -> None:
    assert evaluate_in_child("return { a = { 1, 'é', true }, b = { c = 0.5 } }".encode()) == {
        "a": [1, "é", True],
        "b": {"c": 0.5},
    }


def test_a_child_is_killed_in_time() -> None:
    source = b"local s = ('a'):rep(4000) for i = 1, 1e9 do s:find('.-.-b') end"
    started = time.monotonic()
    with pytest.raises(SandboxError):
        evaluate_in_child(source, Allowance(instructions=10**12, wall_s=2, processor_s=60))
    assert time.monotonic() - started < 20


def test_a_child_has_bounded_processor_time() -> None:
    with pytest.raises(SandboxError, match="ended with"):
        evaluate_in_child(b"while true do end", Allowance(instructions=10**12, wall_s=30, processor_s=1))
