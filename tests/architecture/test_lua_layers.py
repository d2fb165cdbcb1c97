"""The core's layers, and what its sources may not contain: read as text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

LUA = Path(__file__).resolve().parents[2] / "lua"
SOURCES = sorted(LUA.rglob("*.lua"))
LAYERS = ("base", "language", "verbs", "semantics", "engine", "flow", "face")

_COMMENT = re.compile(r"--\[\[.*?\]\]|--[^\n]*", re.DOTALL)
_STRING = re.compile(r"\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'")


def code_of(source: Path) -> str:
    """Give a source without comments and string contents."""
    return _STRING.sub('""', _COMMENT.sub("", source.read_text()))


def layer_of(module: str) -> int:
    """Place a module name in the layers; a module beside the folders belongs to the face."""
    parts = module.split(".")
    return LAYERS.index(parts[1]) if len(parts) > 2 else LAYERS.index("face")


def module_of(source: Path) -> str:
    """Name the module that a file is."""
    return ".".join(source.relative_to(LUA).with_suffix("").parts)


@pytest.mark.parametrize("source", SOURCES, ids=module_of)
def test_a_module_requires_only_its_own_layer_and_those_below(source: Path) -> None:
    own = layer_of(module_of(source))
    required = re.findall(r'require\("([^"]+)"\)', source.read_text())
    above = [name for name in required if layer_of(name) > own]
    assert not above, f"{module_of(source)} requires {above} from above"


@pytest.mark.parametrize("source", SOURCES, ids=module_of)
def test_a_module_is_plain_ascii(source: Path) -> None:
    source.read_text().encode("ascii")


@pytest.mark.parametrize("source", SOURCES, ids=module_of)
def test_hash_order_is_walked_in_base_only(source: Path) -> None:
    code = code_of(source)
    assert not re.search(r"\bi?pairs\s*\(", code) or "pairs(" not in code.replace("ipairs(", "")
    if layer_of(module_of(source)) > 0:
        assert not re.search(r"\bin\s+next\b", code)


FORBIDDEN = {
    "a library beyond base, table, string and math": r"\b(?:io|os|debug|utf8|coroutine|bit32|ffi|jit)\s*\.",
    "the host's random numbers": r"\bmath\s*\.\s*random",
    "goto": r"\bgoto\b",
    "integer division": r"//",
    "a number through tostring, tonumber or string.format": r"\b(?:tostring|tonumber)\s*\(|string\s*\.\s*format",
    "infinity by name": r"\bmath\s*\.\s*huge\b",
    "transcendental functions": r"\bmath\s*\.\s*(?:exp|log|pow|sin|cos|tan|sqrt)\b",
}
# What a rule does not bind, and why.
EXCEPTIONS = {
    ("llm_policy.base.platform", "a library beyond base, table, string and math"),  # asks what the runtime is
    ("llm_policy.base.platform", "infinity by name"),  # the gate is about such numbers
    ("llm_policy.base.numbers", "infinity by name"),  # names the absent-high sentinel, compares only
}


@pytest.mark.parametrize("rule", FORBIDDEN)
@pytest.mark.parametrize("source", SOURCES, ids=module_of)
def test_the_common_dialect_is_kept(source: Path, rule: str) -> None:
    if (module_of(source), rule) in EXCEPTIONS:
        return
    found = re.search(FORBIDDEN[rule], code_of(source))
    assert found is None, f"{module_of(source)}: {rule}: {found.group(0)[:80]!r}"


@pytest.mark.parametrize("source", SOURCES, ids=module_of)
def test_no_local_function_calls_itself_by_its_own_name(source: Path) -> None:
    """One luerl breaks such a function: `local f; f = function` is written instead."""
    functions = r"^( *)local function (\w+)\(([\s\S]*?)^\1end\b"
    for _, name, body in re.findall(functions, code_of(source), re.MULTILINE):
        assert not re.search(rf"(?<![.:\w]){name}\s*\(", body), name


@pytest.mark.parametrize("source", SOURCES, ids=module_of)
def test_a_file_opens_with_a_sentence(source: Path) -> None:
    assert re.match(r"-- [A-Z`].*", source.read_text().splitlines()[0])
