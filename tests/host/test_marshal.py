from __future__ import annotations

import importlib
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_policy_host.core import marshal
from llm_policy_host.core.vm import available_runtimes
from llm_policy_host.errors import MarshalError
from llm_policy_host.spelling import encode


def _runtime(name: str) -> tuple[Any, Any]:
    module = importlib.import_module(f"lupa.{name}")
    lua = module.LuaRuntime(encoding=None, register_eval=False, register_builtins=False)
    return lua, marshal.Reader(module.lua_type)


RUNTIMES = {name: _runtime(name) for name in available_runtimes()}
every_runtime = pytest.mark.parametrize("name", RUNTIMES)


def _there_and_back(name: str, value: Any) -> Any:
    lua, type_of = RUNTIMES[name]
    return marshal.from_lua(type_of, marshal.to_lua(lua, value))


def _in_lua(name: str, value: Any, body: bytes) -> Any:
    lua, type_of = RUNTIMES[name]
    return marshal.from_lua(type_of, lua.execute(b"local v = ... " + body, marshal.to_lua(lua, value)))


@every_runtime
@pytest.mark.parametrize(
    "value", [None, True, False, 0, -1, 2**53, 1.5, -0.1, "", "é", "a\x00b", [1, [2]], {"a": {"b": [1]}}]
)
def test_plain_values_come_back(name: str, value: Any) -> None:
    assert _there_and_back(name, value) == value


@every_runtime
@pytest.mark.parametrize(
    ("value", "text"), [(2**53 + 1, 2.0**53), (2**63, 2.0**63), (-(2**70), -(2.0**70)), (10**400, math.inf)]
)
def test_integers_beyond_doubles_are_carried_as_doubles(name: str, value: int, text: float) -> None:
    assert _there_and_back(name, value) == text


@every_runtime
def test_nan_and_infinity_cross(name: str) -> None:
    assert math.isnan(_there_and_back(name, math.nan))
    assert _there_and_back(name, -math.inf) == -math.inf


@every_runtime
@pytest.mark.parametrize("value", [["and", None, "x"], ["and", "x", None], [None], [None, None]])
def test_none_in_a_list_is_never_a_shorter_list(name: str, value: list[Any]) -> None:
    assert _in_lua(name, value, b"return v.n") == len(value)


@every_runtime
def test_none_in_a_record_is_absence(name: str) -> None:
    assert _there_and_back(name, {"a": None, "b": 1}) == {"b": 1}


@every_runtime
@pytest.mark.parametrize("data", [b"\xff\xfe", b"a\xc3", bytes(range(256))])
def test_bytes_that_are_no_text_come_back(name: str, data: bytes) -> None:
    assert encode(_there_and_back(name, data)) == data
    assert _in_lua(name, data, b"return #v") == len(data)


@every_runtime
def test_lone_surrogates_cross(name: str) -> None:
    assert _in_lua(name, "\ud800", b"return type(v)") == "string"
    assert _in_lua(name, {"\udcff": "\udcff"}, b"return type(next(v))") == "string"


@pytest.mark.parametrize("value", [object(), {1, 2}, print, {"a": [object()]}, {1: 2}, {None: 1}, iter([])])
def test_a_python_object_never_crosses(value: Any) -> None:
    with pytest.raises(MarshalError):
        marshal.prepare(value)


def test_a_refusal_names_the_path() -> None:
    with pytest.raises(MarshalError, match=r"^\$\.a\[2\]: "):
        marshal.prepare({"a": [1, object()]})


@every_runtime
def test_cycles_end_at_the_depth_bound(name: str) -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(MarshalError, match="nested deeper"):
        marshal.prepare(cycle)
    lua, type_of = RUNTIMES[name]
    with pytest.raises(MarshalError, match="nested deeper"):
        marshal.from_lua(type_of, lua.execute(b"local t = {} t.t = t return t"))


@every_runtime
@pytest.mark.parametrize(
    "source",
    [
        b"return print",
        b"return {f = function() end}",
        b"return coroutine.create(function() end)",
        b"return {[true] = 1}",
    ],
)
def test_what_is_not_plain_in_lua_is_refused(name: str, source: bytes) -> None:
    lua, type_of = RUNTIMES[name]
    with pytest.raises(MarshalError):
        marshal.from_lua(type_of, lua.execute(source))


@every_runtime
def test_integral_numbers_come_back_alike(name: str) -> None:
    lua, type_of = RUNTIMES[name]
    value = marshal.from_lua(type_of, lua.execute(b"return {1.0, 2, -0.0, 2^53, 0.5}"))
    assert value == [1, 2, 0, 2**53, 0.5]
    assert [type(item) for item in value] == [int, int, int, int, float]


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(PLAIN)
def test_every_plain_value_crosses_into_every_runtime(value: Any) -> None:
    for lua, _ in RUNTIMES.values():
        marshal.to_lua(lua, value)


@given(
    st.recursive(
        st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
        lambda inner: st.lists(inner, min_size=1) | st.dictionaries(st.text(), inner, min_size=1),
        max_leaves=20,
    )
)
def test_what_has_one_form_on_both_sides_comes_back_equal(value: Any) -> None:
    for name in RUNTIMES:
        assert _there_and_back(name, value) == value
