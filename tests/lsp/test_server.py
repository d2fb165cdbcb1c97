"""The language server as an editor has it: a process of its own, spoken to over its standard streams."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from lsprotocol import types

from tests.host.test_cli import llm_policy

from .editor import at, editing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GOOD = """\
providers:
  acme: {api_kind: scripted, tier: partner}
  bravo: {base_url: "https://bravo.test/v1", auth_env: BRAVO_KEY}
models:
  small-1:
    capabilities: {context: 32000, supports_tools: true, rhymes: true}
    served_by: [{provider: acme, price_in: 0.4, quality: 3}, {provider: bravo, price_in: 0.2}]
fields: {quality: {sort: Num, default: 0}, local: {sort: Bool}}
params: [mood]
profiles:
  cheap:
    filter: [requirements, not_disabled, [cmp, quality, ge, 1]]
    scorer: [neg, [normalize, [field, price_in]]]
    mutate: [{clamp: {mood: 1}}]
    retry_policy: patient
  open: {extends: cheap, selector: sample, selector_opts: {temp: 0.5}}
retry_policies:
  patient:
    timeout: {action: retry_same, attempts: 2}
host:
  deadline_ms: 40000
  lanes: {acme: {max_in_flight: 2}}
"""

MISTAKEN = """\
providers:
  a: {api_kind: scripted, teir: partner}
models:
  m: {served_by: [{provider: b}]}
profiles:
  x: {filter: [and, [is, no_lgo]], scorer: [neg]}
host:
  deadline_ms: 0
  sources: {feed: {kind: json}}
"""


def _checked(path: Path) -> list[tuple[int, int, str]]:
    """Give what `llm-policy check` says of a file."""
    told = json.loads(llm_policy("check", path, "--json", "--no-secrets").stdout)
    problems = told["problems"] if "problems" in told else told["warnings"]
    return [(each["line"], each["column"], _message(each)) for each in problems]


def _message(told: dict[str, Any]) -> str:
    hint = f" (did you mean `{told['nearest']}`?)" if told["nearest"] else ""
    return f"{told['path']}: {told['detail']}{hint}"


def _shown(diagnostics: list[types.Diagnostic]) -> list[tuple[int, int, str]]:
    """Give diagnostics with lines and columns from 1."""
    return [(each.range.start.line + 1, each.range.start.character + 1, each.message) for each in diagnostics]


# Diagnostics -------------------------------------------------------------------------------------


async def test_mistakes_are_those_of_check_and_go_when_they_are_mended(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(MISTAKEN)
    expected = _checked(path)
    assert len(expected) == 6
    async with editing(tmp_path) as editor:
        uri = editor.open(path, MISTAKEN)
        found = await editor.diagnostics(uri)
        assert _shown(found) == expected
        assert {each.severity for each in found} == {types.DiagnosticSeverity.Error}
        editor.type(uri, GOOD)
        assert await editor.diagnostics(uri, 2) == []


async def test_warnings_are_those_of_check(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    odd = GOOD.replace("requirements, not", "{price_max: {input: 0.1}}, not")
    path.write_text(odd)
    expected = _checked(path)
    assert expected
    async with editing(tmp_path) as editor:
        found = await editor.diagnostics(editor.open(path, odd))
        assert _shown(found) == expected
        assert {each.severity for each in found} == {types.DiagnosticSeverity.Warning}


async def test_what_the_editor_has_counts_and_not_the_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(MISTAKEN)
    async with editing(tmp_path) as editor:
        uri = editor.open(path, GOOD)
        assert await editor.diagnostics(uri) == []
        editor.text_document_did_save(types.DidSaveTextDocumentParams(types.TextDocumentIdentifier(uri)))
        editor.type(uri, "providers: [")
        found = await editor.diagnostics(uri, 2)
        assert ["not readable as YAML" in each.message for each in found] == [True]
        editor.text_document_did_close(types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(uri)))
        assert await editor.diagnostics(uri, None) == []


async def test_a_script_in_a_file_of_its_own_is_told_of_where_scripts_are_named(tmp_path: Path) -> None:
    (tmp_path / "script.yaml").write_text("- {answer: [}")
    text = GOOD + "  scripts: {acme: script.yaml}\n"
    async with editing(tmp_path) as editor:
        (found,) = await editor.diagnostics(editor.open(tmp_path / "policy.yaml", text))
        assert found.message.startswith(str(tmp_path / "script.yaml") + ":1:")
        assert found.range.start == types.Position(text.count("\n") - 1, 2)


TERMS = [
    ("t.json", '["and", ["top"],\n\t["is", "quality"]]', (2, 9), "$.and[2].is[1]: field_sort"),
    ("t.json", '["and", ]', (1, 9), "$: not_a_term: value expected"),
    ("t.yaml", "- and\n- [top]\n- [is, quality]\n", (3, 8), "$.and[2].is[1]: field_sort"),
    ("t.yaml", "[and, [top]", (1, 12), "$: not readable as YAML"),
    ("t.lua", 'return {"and", {"is", "quality"}}', (1, 1), "$.and[1].is[1]: field_sort"),
    ("c.lua", "return {\n  providers = 1 +\n}", (3, 1), "$: unexpected symbol near"),
    ("c.lua", "return {providers = os.getenv('HOME')}", (1, 1), "$: attempt to index a nil value"),
    ("c.lua", "return {models = {}, providers = {}, provider = {}}", (1, 1), "$.provider: no config key"),
    ("policy.lua", "while true do end", (1, 1), "$: "),
]


@pytest.mark.parametrize(("name", "text", "place", "message"), TERMS)
async def test_terms_and_lua_are_told_of_too(
    tmp_path: Path, name: str, text: str, place: tuple[int, int], message: str
) -> None:
    async with editing(tmp_path) as editor:
        config = editor.open(tmp_path / "policy.yaml", GOOD)
        assert await editor.diagnostics(config) == []
        ((line, column, told),) = _shown(await editor.diagnostics(editor.open(tmp_path / name, text)))
        assert (line, column) == place
        assert told.startswith(message)
        editor.type(config, GOOD + "# still there\n")
        assert await editor.diagnostics(config, 2) == []


async def test_a_lua_config_with_functions_is_checked_in_its_own_process(tmp_path: Path) -> None:
    text = """return {
      providers = {a = {api_kind = "scripted"}}, models = {m = {served_by = {{provider = "a"}}}},
      profiles = {f = {filter = {"where", function() return true end}}},
    }"""
    async with editing(tmp_path) as editor:
        assert await editor.diagnostics(editor.open(tmp_path / "policy.lua", text)) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("compose.yaml", "services: {web: {image: x}}\n"),
        ("play.yml", "- hosts: all\n  tasks: []\n"),
        ("policy.test.yaml", "config: policy.yaml\ncases: []\n"),
        ("package.json", '{"name": "x"}'),
        ("init.lua", "vim.opt.number = true"),
        ("empty.yaml", ""),
    ],
)
async def test_documents_of_others_are_left_alone(tmp_path: Path, name: str, text: str) -> None:
    async with editing(tmp_path) as editor:
        uri = editor.open(tmp_path / name, text)
        assert await editor.diagnostics(uri) == []
        assert await editor.complete(uri, 0, 0) == {}


# Completion --------------------------------------------------------------------------------------

COMPLETIONS = [
    ("|", {"providers", "profiles", "host", "runtime"}, {"filter"}),
    (GOOD + "def|", {"defaults"}, {"providers", "host"}),
    (GOOD + "providers2:\n  x: {|\n", set(), {"base_url"}),
    ("providers:\n  x: {tier: |", {"partner", "fallback"}, {"base_url"}),
    ("providers:\n  x: {api_kind: scripted, |", {"base_url", "auth_env"}, {"api_kind"}),
    ("providers:\n  x: {auth: {|", {"kind", "env", "keyring", "token_url"}, {"tier"}),
    ("providers:\n  |", {"NAME"}, {"base_url"}),
    (GOOD.replace("provider: bravo", "provider: |"), {"acme", "bravo"}, {"cheap"}),
    (GOOD.replace("served_by: [{", "served_by: [{|, "), {"tier", "quality", "local"}, {"teir"}),
    (GOOD.replace("retry_policy: patient", "retry_policy: |"), {"patient", "[always]"}, {"cheap"}),
    (GOOD.replace("extends: cheap", "extends: |"), {"cheap", "open"}, {"patient"}),
    (GOOD.replace("selector: sample", "selector: |"), {"argmax", "sample", "[top_k]"}, {"cheap"}),
    (GOOD.replace("    mutate", "    |\n    mutate"), {"selector", "extends"}, {"filter", "mutate"}),
    (GOOD.replace("[cmp, quality", "[|, quality"), {"and", "requirements", "min_tier"}, {"neg", "quality"}),
    (GOOD.replace("[cmp, quality", "[cmp, |"), {"price_in", "quality"}, {"local", "no_log", "cmp"}),
    (GOOD.replace("[cmp, quality, ge", "[cmp, quality, |"), {"lt", "ge"}, {"quality"}),
    (GOOD.replace("[cmp, quality, ge, 1]", "[is, |"), {"local", "no_log"}, {"quality"}),
    (GOOD.replace("[cmp, quality, ge, 1]", "[has_cap, |]"), {"tools", "rhymes"}, {"context"}),
    (GOOD.replace("[cmp, quality, ge, 1]", "{provider_in: [|]}"), {"acme", "bravo"}, {"small-1"}),
    (GOOD.replace("[cmp, quality, ge, 1]", "{family_in: [acme, |"), {"small-1"}, {"acme"}),
    (GOOD.replace("[cmp, quality, ge, 1]", "{|}"), {"price_max", "any_of", "tier_in"}, {"and"}),
    (GOOD.replace("[normalize,", "[|,"), {"add", "gate"}, {"and", "top"}),
    (GOOD.replace("{mood: 1}", "{|"), {"mood", "temperature"}, {"clamp"}),
    (GOOD.replace("timeout: {action: retry_same", "timeout: {action: |"), {"abort"}, {"timeout"}),
    (GOOD.replace("attempts: 2", "|"), {"backoff_ms", "then_action"}, {"action"}),
    (GOOD.replace("    timeout:", "    |:"), {"rate_limit", "unknown"}, {"action"}),
    (GOOD.replace("  deadline_ms", "  |\n  deadline_ms"), {"trace", "limits"}, {"deadline_ms", "lanes"}),
    (GOOD + "  trace: |", {"used", "full"}, {"true"}),
    (GOOD + "  gateway: {metadata: |", {"true", "false"}, {"metadata"}),
    (GOOD + "  credits: {|", {"acme", "bravo"}, {"max_in_flight"}),
    (GOOD + "  keys: {k: {env: K, may: [|", {"admin", "policy"}, {"env"}),
    (GOOD + "  keys:\n    k:\n      profiles:\n        - |", {"cheap", "open"}, {"admin"}),
    (GOOD + "defaults: {profile: |", {"cheap", "open"}, {"timeout_ms"}),
    (GOOD.replace("    scorer:", "    # s|\n    scorer:"), set(), {"scorer"}),
]


@pytest.fixture(scope="module")
def anywhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("anywhere")


async def test_what_fits_is_offered_also_where_the_text_cannot_be_read_yet(anywhere: Path) -> None:
    wrong = []
    async with editing(anywhere) as editor:
        uri = editor.open(anywhere / "policy.yaml", GOOD)
        for version, (marked, offered, other) in enumerate(COMPLETIONS, 2):
            text, line, character = at(marked)
            editor.type(uri, text, version)
            found = await editor.complete(uri, line, character)
            if not (offered <= found.keys() and not other & found.keys()):
                wrong.append((text.splitlines()[line : line + 1], sorted(found)))
    assert wrong == []


async def test_a_word_replaces_what_is_typed_of_it_in_the_words_of_the_document(tmp_path: Path) -> None:
    async with editing(tmp_path) as editor:
        editor.open(tmp_path / "policy.yaml", GOOD)
        for name, marked, label, expected in (
            ("a.json", '["and", ["is", "loc|"]]', "local", '["and", ["is", "local"]]'),
            ("b.json", '["and", ["is", |', "local", '["and", ["is", "local"'),
            ("c.json", '["and", |', "[cmp]", '["and", ["cmp", "price_in", "le", 1]'),
            ("d.yaml", "- not\n- - is\n  - lo|", "local", "- not\n- - is\n  - local"),
            ("policy-e.yaml", "{prov|: {}}", "providers", "{providers: {}}"),
            ("policy-f.yaml", "defaults:\n  time|", "timeout_ms", "defaults:\n  timeout_ms: "),
        ):
            text, line, character = at(marked)
            uri = editor.open(tmp_path / name, text)
            edit = (await editor.complete(uri, line, character))[label].text_edit
            assert isinstance(edit, types.TextEdit)
            lines = text.split("\n")
            start, end = edit.range.start, edit.range.end
            assert start.line == end.line == line
            lines[line] = lines[line][: start.character] + edit.new_text + lines[line][end.character :]
            assert "\n".join(lines) == expected


# Hover -------------------------------------------------------------------------------------------

HOVERS = [
    ("[|normalize", "`normalize(child Scorer) Scorer`", "the child brought into 0..1", "law: idempotent"),
    (
        "pri|ce_in]]]",
        "`price_in`: field, Num",
        "USD per million tokens in",
        "absent: higher than every number",
    ),
    ("[cmp, qua|lity", "`quality`: field, Num", "absent: 0"),
    (
        "  |deadline_ms",
        "`deadline_ms`: a whole number of milliseconds above 0",
        "how long a whole run may take",
    ),
    ("{|max_in_flight", "`max_in_flight`", "calls under way (default 64)"),
    ("action: retry_s|ame", "`retry_same`: word", "call the same again"),
    ("selector_o|pts", "`selector_opts`", "`temp` of `sample` (default 1)"),
    ("{cl|amp", "`clamp`", "or to the highest alone"),
    ("|requirements", "`requirements`: filter", "meets the contract's requirements"),
    ("tier: par|tner", "`partner`: tier 3 of 3"),
]


async def test_words_are_told_as_the_core_and_the_settings_mean_them(tmp_path: Path) -> None:
    async with editing(tmp_path) as editor:
        uri = editor.open(tmp_path / "policy.yaml", GOOD)
        for marked, *expected in HOVERS:
            bare = marked.replace("|", "")
            assert GOOD.count(bare) == 1, bare
            _, line, character = at(GOOD.replace(bare, marked))
            told = await editor.hover(uri, line, character)
            assert [part for part in expected if part not in told] == [], told
        assert await editor.hover(uri, 1, 0) == ""


async def test_the_identity_under_the_cursor_is_that_of_hash(tmp_path: Path) -> None:
    path, term = (
        tmp_path / "policy.yaml",
        '["policy", ["top"], ["field", "quality"], ["argmax"], ["id"], ["always", {"action": "abort"}]]',
    )
    path.write_text(GOOD)
    (tmp_path / "t.json").write_text(term)
    lines = llm_policy("hash", path, "--json").stdout.splitlines()
    hashed = {told["profile"]: told for told in map(json.loads, lines)}
    own = json.loads(llm_policy("hash", tmp_path / "t.json", "-c", path, "--json").stdout)
    async with editing(tmp_path) as editor:
        uri = editor.open(path, GOOD)
        assert await editor.diagnostics(uri) == []
        for profile, marked in (
            ("cheap", "  che|ap:\n"),
            ("cheap", "[neg, [norm|alize"),
            ("open", "  |open:"),
        ):
            _, line, character = at(GOOD.replace(marked.replace("|", ""), marked))
            told = await editor.hover(uri, line, character)
            assert hashed[profile]["identity"] in told
            assert hashed[profile]["fingerprint"] in told
        _, line, character = at(GOOD.replace("host:", "ho|st:"))
        assert "sha256:" not in await editor.hover(uri, line, character)
        uri = editor.open(tmp_path / "t.json", term)
        assert await editor.diagnostics(uri) == []
        assert own["identity"] in await editor.hover(uri, 0, 4)


# What it must not do -----------------------------------------------------------------------------

CANARY = "canary-5f2c9b7e4a"


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """Listen on this machine; whoever asks is written down."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_no_secret_is_looked_up_nobody_is_called_nothing_is_run(tmp_path: Path) -> None:
    # whoever opened this file to read it would wait for ever
    os.mkfifo(tmp_path / "secret")
    with listening() as (url, asked):
        text = f"""\
providers:
  a: {{base_url: "{url}/v1", auth_env: CANARY_KEY}}
  b: {{base_url: "{url}/v1", auth: {{kind: bearer, file: secret}}}}
  c: {{base_url: "{url}/v1", auth: {{kind: oauth, token_url: "{url}/t", client_id: x, store: secret}}}}
  d: {{discovery: marketplace, discovery_id: feed, base_url: "{url}/v1"}}
  e: {{discovery: marketplace, discovery_id: program, base_url: "{url}/v1"}}
models:
  m: {{served_by: [{{provider: a}}, {{provider: b}}, {{provider: c}}, {{provider: d}}, {{provider: e}}]}}
profiles:
  p: {{filter: [requirements]}}
host:
  keys: {{team: {{env: CANARY_KEY}}, file: {{file: secret}}}}
  sources:
    feed: {{kind: json, url: "{url}/offers", auth_env: CANARY_KEY}}
    program: {{kind: json, command: [touch, {tmp_path}/ran]}}
"""
        said: list[str] = []
        async with editing(tmp_path, CANARY_KEY=CANARY) as editor:
            uri = editor.open(tmp_path / "policy.yaml", text)
            said += [each.message for each in await editor.diagnostics(uri)]
            for line, column in ((1, 45), (2, 60), (9, 4), (11, 20), (13, 60)):
                said.append(await editor.hover(uri, line, column))
                said += await editor.complete(uri, line, column)
            editor.type(uri, text.replace("filter:", "filtre:"))
            said += [each.message for each in await editor.diagnostics(uri, 2)]
            assert editor.shown == []
    assert any("filtre" in each for each in said)
    assert not any(CANARY in each for each in said)
    assert (asked, (tmp_path / "ran").exists()) == ([], False)


HOSTILE = {
    "nothing": "",
    "zeros": "providers: \x00\x00\n",
    "half of a pair": "providers: {a: \ud800}\n",
    "deep lists": "[" * 60_000,
    "deep lists in a config": "profiles: " + "[" * 60_000,
    "deep records": "".join(f"{' ' * depth}a:\n" for depth in range(400)),
    "many values": "models: {" + ", ".join(f"m{each}: {{}}" for each in range(4_000)) + "}",
    "larger than a config may be": "# " + "x" * (5 * 1024 * 1024),
    "aliases": "a: &a [1,1,1,1,1,1,1,1,1]\n"
    + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)),
    "tags": "!!python/object/apply:os.system ['true']",
    "other ends of lines": "providers:\u2028  a: 1\x85\rmodels:\r\n  \u2029x: 2\r",
    "a scalar": "just words",
    "open quotes": "profiles: {x: {filter: 'a\n",
    "emoji": "profiles:\n  \U0001f600: {filter: [\U0001f600\U0001f600, no_lgo]}\n",
}


async def test_hostile_documents_are_told_of_and_kill_nobody(tmp_path: Path) -> None:
    async with editing(tmp_path) as editor:
        for number, (name, text) in enumerate(HOSTILE.items()):
            uri = editor.open(tmp_path / f"policy-{number}.yaml", text)
            assert await editor.diagnostics(uri), name
            places = [(0, 0), (0, 5), (1, 3), (10**6, 10**6), (0, min(len(text), 20_000))]
            for line, character in places:
                await editor.complete(uri, line, character)
                await editor.hover(uri, line, character)
        assert editor.shown == []
        assert await editor.diagnostics(editor.open(tmp_path / "policy.yaml", GOOD)) == []


async def test_the_server_ends_with_its_editor_whatever_is_under_way(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "script.yaml")
    async with editing(tmp_path) as editor:
        # the editor's wait for the end of the process is the assertion
        editor.open(tmp_path / "policy.yaml", GOOD + "  scripts: {acme: script.yaml}\n")
        assert await editor.complete(editor.open(tmp_path / "policy.json", "["), 0, 1)


@pytest.mark.parametrize(("encoding", "units"), [("utf-8", 4), ("utf-16", 2), ("utf-32", 1)])
async def test_columns_are_in_the_units_that_the_editor_counts_in(
    tmp_path: Path, encoding: str, units: int
) -> None:
    line = "  \U0001f600: {extends: cheep}\n"
    async with editing(tmp_path, [encoding]) as editor:
        text = GOOD.replace("  cheap:\n", line + "  cheap:\n")
        uri = editor.open(tmp_path / "policy.yaml", text)
        (told,) = await editor.diagnostics(uri)
        start = line.index("cheep") - 1 + units
        number = text[: text.index(line)].count("\n")
        assert told.range == types.Range(types.Position(number, start), types.Position(number, start + 5))
        edit = (await editor.complete(uri, number, start + 5))["cheap"].text_edit
        assert isinstance(edit, types.TextEdit)
        assert edit.range == told.range


def test_without_its_package_the_command_names_the_extra(tmp_path: Path) -> None:
    program = "import sys; sys.modules['pygls'] = None; from llm_policy_host.cli.main import main; sys.exit(main(['lsp']))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'llm-policy[lsp]'" in done.stderr
