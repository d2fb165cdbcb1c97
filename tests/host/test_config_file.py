"""What the host alone finds in a config; what the core finds stands in test_wiring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.config.auths import read_auths
from llm_policy_host.config.load import load_config
from llm_policy_host.config.names import nearest, path_text
from llm_policy_host.config.secrets import LocalSecrets
from llm_policy_host.config.settings import read_settings
from llm_policy_host.config.yaml_file import MAX_NODES, parse_yaml
from llm_policy_host.values import Missing, Secret
from llm_policy_host.wiring import Host

if TYPE_CHECKING:
    from pathlib import Path


def _problems(text: str) -> list[str]:
    return [str(problem).removeprefix("f:") for problem in parse_yaml(text, "f").problems]


def _settings(text: str) -> list[str]:
    document = parse_yaml(text, "f")
    read_settings(document, ["lua54", "luajit21"])
    read_auths(document)
    return [str(problem).removeprefix("f:") for problem in document.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("true", True), ("FALSE", False), ("1e3", 1000.0),
        ("0.1", 0.1), (".5", 0.5), ("5.", 5.0), ("0x10", 16), ("0o10", 8), ("010", 10), ("+3", 3),
        ("1_000", "1_000"), ("1:30", "1:30"), ("2026-01-01", "2026-01-01"), ("'1'", "1"), ("null", None),
        ("~", None), ('"\\u00e9"', "é"),
    ],
)  # fmt: skip
def test_scalars_follow_the_core_schema(text: str, value: Any) -> None:
    document = parse_yaml(f"a: {text}", "f")
    assert document.problems == []
    assert document.data == {"a": value}
    assert type(document.data["a"]) is type(value)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("a: 1\nb: 2\na: 3", ["3:1: $.a: given twice, first at 1:1"]),
        ("a:\n  b: .nan\n  c: -.inf", ["2:6: $.a.b: `.nan` is no finite number", "3:6: $.a.c: `-.inf` is no finite number"]),
        ("a: 1e999", ["1:4: $.a: `1e999` is too large a number"]),
        ("a: !x b", ["1:4: $.a: the tag `!x` is not read"]),
        ("a: !!python/name:os.system x", ["1:4: $.a: the tag `tag:yaml.org,2002:python/name:os.system` is not read"]),
        ("a: !!set {x}", ["1:4: $.a: the tag `tag:yaml.org,2002:set` is not read"]),
        ("a: [1,, 2]", ["1:7: $: not readable as YAML: while parsing a flow node, expected the node content, but found ','"]),
        ("a: [1, ~]", ["1:8: $.a[2]: a list holds no empty item"]),
        ("a:\n  - x\n  -", ["3:4: $.a[2]: a list holds no empty item"]),
        ("a:\nb: 1", ["1:1: $.a: no value given"]),
        ("429: x", ["1:1: $: a key must be text: quote `429`"]),
        ("? [a]\n: b", ["1:3: $: a key must be text"]),
        ("a: &x {b: 1}\nc: {<<: *x}", ["2:5: $.c: merge keys are not read; a profile may use `extends`"]),
        ("a: b: c", ["1:5: $: not readable as YAML: mapping values are not allowed here"]),
        ('a: "b', ["1:6: $: not readable as YAML: while scanning a quoted scalar, found unexpected end of stream"]),
        ("a: 1\n---\nb: 2", ["2:1: $: not readable as YAML: expected a single document in the stream, but found another document"]),
        ("a: *b", ["1:4: $: not readable as YAML: found undefined alias 'b'"]),
    ],
)  # fmt: skip
def test_a_mistake_has_its_place(text: str, problems: list[str]) -> None:
    assert _problems(text) == problems


def test_aliases_are_read_and_their_expansion_is_bounded() -> None:
    assert parse_yaml("a: &x [1]\nb: *x", "f").data == {"a": [1], "b": [1]}
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    (problem,) = _problems(bomb)
    assert f"more than {MAX_NODES} values" in problem


@pytest.mark.parametrize("text", ["[" * 100_000, "a: " * 50_000, "- " * 20_000, "a: &a [*a]", "{" * 3000])
def test_depth_is_bounded(text: str) -> None:
    assert _problems(text)


def test_a_path_leads_to_its_value_its_key_or_what_exists_of_it() -> None:
    document = parse_yaml("models:\n  m:\n    served_by:\n      - {provider: x}\n", "f")
    assert document.locate(("models", "m", "served_by", 1, "provider")) == (4, 20)
    assert document.locate(("models", "m", "served_by", 1, "provider"), key=True) == (4, 10)
    assert document.locate(("models", "m", "served_by", 1, "model")) == (4, 9)
    assert document.locate(("models", "m", "served_by", 2)) == (4, 7)
    assert document.locate(("nothing", "at", "all")) == (1, 1)
    assert document.locate(()) == (1, 1)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("runtime: lua45", ["1:10: $.runtime: `lua45` is no runtime of this platform (did you mean `lua54`?)"]),
        ("host: 3", ["1:7: $.host: must be a record"]),
        ("host:\n  deadlin_ms: 3", ["2:3: $.host.deadlin_ms: unknown key `deadlin_ms` (did you mean `deadline_ms`?)"]),
        ("host: {deadline_ms: 0}", ["1:21: $.host.deadline_ms: must be a whole number of milliseconds above 0"]),
        ("host: {trace: all}", ["1:15: $.host.trace: must be `used` or `full`"]),
        ("providers:\n  p: {auth: {kind: baerer}}", ["2:20: $.providers.p.auth.kind: must be one of none, bearer, oauth (did you mean `bearer`?)"]),
        ("providers:\n  p: {auth: {kind: bearer}}", ["2:13: $.providers.p.auth: a bearer needs exactly one of `env`, `file` and `keyring`"]),
        ("providers:\n  p: {auth: {kind: bearer, env: A, fil: b}}", ["2:36: $.providers.p.auth.fil: unknown key `fil` (did you mean `file`?)"]),
        ("providers:\n  p: {auth: {kind: bearer, env: 3}}", ["2:33: $.providers.p.auth.env: must be a name"]),
        ("providers:\n  p: {auth: {kind: none}, auth_env: A}", ["2:27: $.providers.p.auth_env: both `auth` and `auth_env` are given"]),
        ("providers:\n  p: {auth: secret}", ["2:13: $.providers.p.auth: must be a record with a `kind`"]),
    ],
)  # fmt: skip
def test_the_hosts_own_keys_are_checked(text: str, problems: list[str]) -> None:
    assert _settings(text) == problems


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (None, "1:1: $: no such file or directory"),
        (b"a: 1\nb: \xff", "2:1: $: not UTF-8"),
        (b"- 1", "1:1: $: must be a record"),
    ],
)
def test_a_file_that_is_no_config_says_why(tmp_path: Path, content: bytes | None, detail: str) -> None:
    path = tmp_path / "c.yaml"
    if content is not None:
        path.write_bytes(content)
    (problem,) = load_config(path).document.problems
    assert str(problem) == f"{path}:{detail}"


def test_a_directory_is_no_config(tmp_path: Path) -> None:
    assert len(load_config(tmp_path).document.problems) == 1


def test_names_near_and_far() -> None:
    assert nearest("argmx", ["ordered", "argmax"]) == "argmax"
    assert nearest("completely-else", ["ordered", "argmax"]) is None
    assert path_text(("a", 2, "b c", "_d1")) == '$.a[2]["b c"]._d1'


def test_a_secret_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-file\n")
    source = LocalSecrets(tmp_path, {"KEY": "from-env"})
    for auth, text in (({"env": "KEY"}, "from-env"), ({"file": "key"}, "from-file")):
        found = source.find(auth)
        assert isinstance(found, Secret)
        assert found.reveal() == text


@pytest.mark.parametrize("text", ["", " ", "two words", "line\nbreak", "\u20ac", "nul\x00"])
def test_a_secret_that_no_header_can_carry_is_missing(tmp_path: Path, text: str) -> None:
    found = LocalSecrets(tmp_path, {"KEY": text}).find({"env": "KEY"})
    assert isinstance(found, Missing)
    assert text.strip() == "" or text not in found.reason
    assert isinstance(LocalSecrets(tmp_path, {}).find({"file": "absent"}), Missing)


def test_a_secret_is_never_printed() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {secret:>20} {[secret]} {vars(Secret)}"
    with pytest.raises(TypeError):
        __import__("pickle").dumps(secret)


def test_an_entry_that_is_null_is_absent(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(
        "providers: {a: {api_kind: scripted}, b: null}\nmodels: {m: null}\npolicy_envelope: null\n"
    )
    assert load_config(path).core == {"providers": {"a": {"api_kind": "scripted"}}, "models": {}}
    assert [*Host.from_config(path, environment={}).config.auths] == ["a"]
