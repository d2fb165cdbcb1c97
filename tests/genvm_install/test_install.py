"""The installer for GenVM: it undoes exactly what it did, and overwrites nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml as yaml_reader
from lupa.lua53 import LuaRuntime

ROOT = Path(__file__).resolve().parents[2]
INSTALLER = ROOT / "genvm" / "install.py"

PLAIN = b"""# the operator's own words
lua_script_path: /usr/lib/genvm/default.lua  # the script
backends:
  acme: {models: {m: {lua_path: no key of ours}}}
lua_path: ${exeDir}/lib/?.lua;/usr/lib/?.lua
"""

YAMLS = {
    "plain": PLAIN,
    "double quotes": PLAIN.replace(b"/usr/lib/genvm/default.lua", b'"/usr/lib/\\u0061.lua"').replace(
        b"${exeDir}/lib/?.lua;/usr/lib/?.lua", b'"${exeDir}/lib/?.lua"'
    ),
    "single quotes": PLAIN.replace(b"${exeDir}/lib/?.lua;/usr/lib/?.lua", b"'/it''s/?.lua'   # kept"),
    "no keys": b"backends: {}\n",
    "no keys, no last newline": b"backends: {}",
    "no last newline": PLAIN.rstrip(),
    "windows newlines": PLAIN.replace(b"\n", b"\r\n"),
    "a byte order mark": b"\xef\xbb\xbf" + PLAIN,
    "quoted keys": PLAIN.replace(b"lua_script_path", b'"lua_script_path"'),
    "an empty path": PLAIN.replace(b"${exeDir}/lib/?.lua;/usr/lib/?.lua", b"''"),
    "a document's start": b"# words\n%YAML 1.2\n---\n" + PLAIN,
    "nothing": b"",
}


class Place:
    """A machine's YAML, and the directory that is installed into."""

    def __init__(self, root: Path, content: bytes = PLAIN) -> None:
        self.root, self.yaml, self.directory = root, root / "module.yaml", root / "own" / "greybox"
        self.yaml.write_bytes(content)
        self.before = self.picture()

    def run(self, command: str, *more: str | Path) -> tuple[int, str]:
        given: list[str | Path] = ["--yaml", self.yaml] if command == "install" else []
        line = [sys.executable, INSTALLER, command, "--into", self.directory, *given, *more]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def install(self) -> None:
        assert self.run("install")[0] == 0

    def picture(self) -> dict[str, bytes | None]:
        """Give every file and directory below the root."""
        found = sorted(self.root.rglob("*"))
        return {str(each): each.read_bytes() if each.is_file() else None for each in found}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize("name", YAMLS)
def test_what_was_installed_goes_without_a_trace(tmp_path: Path, name: str) -> None:
    place = Place(tmp_path, YAMLS[name])
    place.install()
    assert place.run("status") == (0, "installed\n")
    assert place.run("uninstall") == (0, "uninstalled\n")
    assert place.picture() == place.before


@pytest.mark.parametrize("name", YAMLS)
def test_the_yaml_names_the_script_and_keeps_the_paths_behind_ours(tmp_path: Path, name: str) -> None:
    def read(data: bytes) -> dict[str, str]:
        # the reader knows no YAML 1.2, and the values are what is looked at
        return yaml_reader.safe_load(data.replace(b"%YAML 1.2", b"%YAML 1.1")) or {}

    place = Place(tmp_path, YAMLS[name])
    place.install()
    before, after = read(YAMLS[name]), read(place.yaml.read_bytes())
    own = f"{place.directory}/?.lua;{place.directory}/lua/?.lua"
    path = before.get("lua_path")
    assert after == {
        **before,
        "lua_script_path": f"{place.directory}/dispatch.lua",
        "lua_path": f"{own};{path}" if path else own,
    }
    for needed in ("dispatch.lua", "greybox/run.lua", "lua/llm_policy.lua", "lua/llm_policy/base/sha256.lua"):
        assert (place.directory / needed).is_file()


def test_what_is_installed_loads_by_the_yamls_own_path(place: Place) -> None:
    place.install()
    settings = yaml_reader.safe_load(place.yaml.read_bytes())
    lua = LuaRuntime(register_builtins=False)
    lua.globals().package.path = settings["lua_path"]
    lua.execute("__llm, __dflt = { providers = {} }, {}")
    lua.globals().dofile(settings["lua_script_path"])
    assert lua.eval("type(ExecPrompt) == 'function' and type(Teardown) == 'function'")


def test_comments_and_other_lines_stay(place: Place) -> None:
    place.install()
    lines = place.yaml.read_bytes().splitlines()
    assert lines[1].endswith(b"  # the script")
    assert [lines[0], *lines[2:4]] == [PLAIN.splitlines()[0], *PLAIN.splitlines()[2:4]]


def test_a_copy_of_the_yaml_is_kept(place: Place) -> None:
    place.install()
    assert (place.directory / "yaml.before").read_bytes() == PLAIN


def test_who_may_read_the_yaml_stays(place: Place) -> None:
    place.yaml.chmod(0o640)
    place.install()
    assert place.yaml.stat().st_mode & 0o777 == 0o640


def test_a_link_to_the_yaml_stays_a_link(place: Place) -> None:
    target = place.root / "target.yaml"
    place.yaml.rename(target)
    place.yaml.symlink_to(target)
    place.install()
    assert place.yaml.is_symlink()
    assert b"dispatch.lua" in target.read_bytes()
    assert place.run("uninstall")[0] == 0
    assert target.read_bytes() == PLAIN


REFUSED = {
    "the key twice": PLAIN + b"lua_path: x\n",
    "a block": PLAIN.replace(b"lua_path: $", b"lua_path: >\n  $"),
    "a value over two lines": PLAIN + b"  and more\n",
    "a value below": PLAIN.replace(b"lua_path: $", b"lua_path:\n  $"),
    "a list": PLAIN.replace(b"lua_path: ${exeDir}/lib/?.lua;/usr/lib/?.lua", b"lua_path: [x]"),
    "an anchor": PLAIN.replace(b"lua_path: $", b"lua_path: &a $"),
    "two documents": PLAIN + b"---\na: 1\n",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_yaml_that_is_not_understood_is_refused_untouched(tmp_path: Path, name: str) -> None:
    place = Place(tmp_path, REFUSED[name])
    code, said = place.run("install")
    assert code == 2, said
    assert said.startswith("refused: ")
    assert place.picture() == place.before


@pytest.mark.parametrize("name", ["dispatch.lua", "greybox/run.lua", "lua/llm_policy.lua", "manifest.json"])
def test_nothing_is_overwritten(place: Place, name: str) -> None:
    (place.directory / name).parent.mkdir(parents=True)
    (place.directory / name).write_text("mine")
    before = place.picture()
    code, said = place.run("install")
    assert code == 2
    assert "nothing is overwritten" in said
    assert place.picture() == before


def test_a_second_installation_is_refused(place: Place) -> None:
    place.install()
    before = place.picture()
    assert place.run("install")[0] == 2
    assert place.picture() == before


@pytest.mark.parametrize("name", ["a;b", "a?b", "a${b}", "a\nb"])
def test_a_directory_that_a_lua_path_cannot_name_is_refused(place: Place, name: str) -> None:
    place.directory = place.root / name
    assert place.run("install")[0] == 2
    assert place.picture() == place.before


def test_a_missing_yaml_or_core_is_refused(place: Place) -> None:
    assert "the core is not here" in place.run("install", "--lua", place.root)[1]
    place.yaml.unlink()
    assert place.run("install")[0] == 2
    assert place.picture() == {}


def test_what_fails_midway_is_taken_back(place: Place) -> None:
    place.directory.mkdir(parents=True)
    (place.directory / "lua").write_text("a file where a directory must be made")
    before = place.picture()
    assert place.run("install")[0] == 2
    assert place.picture() == before


def test_changes_elsewhere_in_the_yaml_survive_uninstalling(place: Place) -> None:
    place.install()
    place.yaml.write_bytes(place.yaml.read_bytes().replace(b"own words", b"newer words") + b"more: 1\n")
    assert place.run("status")[0] == 0
    assert place.run("uninstall")[0] == 0
    assert place.yaml.read_bytes() == PLAIN.replace(b"own words", b"newer words") + b"more: 1\n"


def test_appended_lines_go_when_the_yaml_changed_elsewhere(tmp_path: Path) -> None:
    place = Place(tmp_path, b"backends: {}\n")
    place.install()
    place.yaml.write_bytes(place.yaml.read_bytes() + b"more: 1\n")
    assert place.run("uninstall")[0] == 0
    assert place.yaml.read_bytes() == b"backends: {}\nmore: 1\n"


def test_a_change_in_our_lines_is_not_undone(place: Place) -> None:
    place.install()
    place.yaml.write_bytes(place.yaml.read_bytes().replace(b"dispatch.lua", b"other.lua"))
    before = place.picture()
    assert place.run("status")[0] == 1
    code, said = place.run("uninstall")
    assert code == 2
    assert "`lua_script_path` was changed" in said
    assert place.picture() == before


def test_a_yaml_restored_by_hand_lets_the_files_go(place: Place) -> None:
    place.install()
    place.yaml.write_bytes(PLAIN)
    assert "not in use" in place.run("status")[1]
    assert place.run("uninstall")[0] == 0
    assert place.picture() == place.before


def test_files_of_the_operator_stay(place: Place) -> None:
    place.install()
    policy, run = place.directory / "greybox-policy.lua", place.directory / "greybox" / "run.lua"
    policy.write_text("return {}")
    run.write_text("-- mine")
    assert f"{run}: was changed\n" == place.run("status")[1]
    assert place.run("uninstall")[0] == 0
    left = [Path(name) for name, data in place.picture().items() if data is not None]
    assert sorted(left) == sorted([place.yaml, policy, run])
    assert place.yaml.read_bytes() == PLAIN


def test_where_nothing_is_installed_nothing_is_done(place: Place) -> None:
    for command in ("status", "uninstall"):
        assert place.run(command)[0] == 2
    place.directory.mkdir(parents=True)
    (place.directory / "manifest.json").write_text("{}")
    assert "damaged" in place.run("uninstall")[1]
