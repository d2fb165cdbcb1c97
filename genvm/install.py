#!/usr/bin/env python3
"""Installs the greybox script for a GenVM, and takes it away again without a trace.

Everything goes into a directory of its own; of GenVM's files only two lines of one YAML change, of which a
copy is kept. Nothing is ever overwritten. Needs Python's standard library alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import sys
from dataclasses import asdict, dataclass
from itertools import dropwhile
from pathlib import Path

HERE = Path(__file__).resolve().parent
MANIFEST = "manifest.json"
COPY = "yaml.before"
SCRIPT_KEY, PATH_KEY = "lua_script_path", "lua_path"

# A value that one line holds whole: in double quotes, in single quotes, or plain.
VALUE = re.compile(
    r"""(?P<double>"(?:[^"\\]|\\.)*")"""
    r"""|(?P<single>'(?:[^']|'')*')"""
    r"""|(?P<plain>[^\s"'|>&*!\[{%@`#].*?)"""
)
LINE = re.compile(
    r"""(?P<head>(?P<quote>["']?)(?P<key>[a-z_]+)(?P=quote)[ \t]*:[ \t]+)"""
    rf"""(?:{VALUE.pattern})(?P<tail>(?:[ \t]+\#[^\r\n]*)?[ \t]*)$""",
    re.VERBOSE,
)
EMPTY = re.compile(r""":[ \t]+(""|''|~|[Nn]ull|NULL)[ \t]*(#.*)?$""")
# What may stand before a document: nothing, a comment, a directive.
HEAD = re.compile(r"\ufeff?\s*(#.*|%.*)?$")
# What a Lua path, or the expansion of variables, would read as something else.
FORBIDDEN = re.compile(r"[;?\x00-\x1f\x7f]|\$\{")


class RefusalError(Exception):
    """The installer does not do this; nothing was changed."""


@dataclass(frozen=True)
class Edit:
    """One line of the YAML: what it was (nothing: there was none), and what it is."""

    key: str
    before: str | None
    after: str


@dataclass(frozen=True)
class Manifest:
    """All that an installation did."""

    yaml: str
    sha256_before: str
    sha256_after: str
    edits: list[Edit]
    files: dict[str, str]
    directories: list[str]

    def write(self, path: Path) -> None:
        """Write it where none is."""
        create(path, json.dumps({"version": 1, **asdict(self)}, indent=1, sort_keys=True).encode() + b"\n")

    @classmethod
    def read(cls, directory: Path) -> Manifest:
        """Read an installation's, or refuse."""
        try:
            data = json.loads((directory / MANIFEST).read_bytes())
            if data.pop("version") != 1:
                raise RefusalError(f"{directory / MANIFEST}: this is no manifest of version 1")
            data["edits"] = [Edit(**each) for each in data["edits"]]
            return cls(**data)
        except FileNotFoundError:
            raise RefusalError(f"{directory}: nothing is installed here") from None
        except (KeyError, TypeError, ValueError) as error:
            raise RefusalError(f"{directory / MANIFEST}: the manifest is damaged: {error}") from error


# Files ---------------------------------------------------------------------------------------------------


def digest(data: bytes) -> str:
    """Give the sha256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def create(path: Path, data: bytes) -> None:
    """Write a file that must not be there."""
    with path.open("xb") as file:
        file.write(data)


def replace(path: Path, data: bytes, known: bytes) -> None:
    """Put other bytes into a file, at once or not at all; whose it is and who may read it stay."""
    if path.read_bytes() != known:
        raise RefusalError(f"{path}: was changed meanwhile")
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        create(draft, data)
        shutil.copystat(path, draft)
        status = path.stat()
        if (status.st_uid, status.st_gid) != (draft.stat().st_uid, draft.stat().st_gid):
            os.chown(draft, status.st_uid, status.st_gid)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def sources(lua: Path) -> dict[str, Path]:
    """List what is installed: place in the directory -> source."""
    out = {each.name: each for each in sorted(HERE.glob("*.lua"))}
    out |= {f"greybox/{each.name}": each for each in sorted((HERE / "greybox").glob("*.lua"))}
    core = {f"lua/{each.relative_to(lua).as_posix()}": each for each in sorted(lua.rglob("*.lua"))}
    if "lua/llm_policy.lua" not in core:
        raise RefusalError(f"{lua}: the core is not here; say with --lua where `llm_policy.lua` is")
    return out | core


# The YAML ------------------------------------------------------------------------------------------------


def lines_of(data: bytes) -> list[str]:
    """Split into lines with their ends, so that joining gives the same bytes."""
    return re.findall(r"[^\n]*\n|[^\n]+$", data.decode("utf-8", "surrogateescape"))


def joined(lines: list[str]) -> bytes:
    """Give the bytes of lines."""
    return "".join(lines).encode("utf-8", "surrogateescape")


def parted(line: str) -> tuple[str, str]:
    """Part a line from its end."""
    bare = line.rstrip("\r\n")
    return bare, line[len(bare) :]


def places_of(lines: list[str], key: str) -> list[int]:
    """Find the lines where a key of the whole document stands."""
    head = re.compile(rf"""\ufeff?(["']?){key}\1[ \t]*:""")
    return [i for i, line in enumerate(lines) if head.match(line)]


def place_of(lines: list[str], key: str) -> int | None:
    """Find the one line of a key, or nothing; what one line does not hold whole is refused."""
    found = places_of(lines, key)
    if len(found) > 1:
        raise RefusalError(f"`{key}` stands in the YAML {len(found)} times")
    if not found:
        return None
    following = lines[found[0] + 1] if found[0] + 1 < len(lines) else ""
    is_continued = (
        following[:1] in {" ", "\t"} and not following.lstrip().startswith("#") and following.strip()
    )
    if is_continued or LINE.match(parted(lines[found[0]])[0]) is None:
        raise RefusalError(
            f"`{key}` has no value that stands whole in its line {found[0] + 1}; please write it so"
        )
    return found[0]


def quoted(text: str) -> str:
    """Quote a text as YAML's double quotes want it."""
    return json.dumps(text, ensure_ascii=False)


def with_value(bare: str, text: str, *, is_prefix: bool) -> str:
    """Give a line with another value, or with a text before its value."""
    match = LINE.match(bare)
    if match is None:
        raise RefusalError(f"no line to change: {bare}")
    if not is_prefix:
        value = quoted(text)
    elif match["double"]:
        value = quoted(text)[:-1] + match["double"][1:]
    elif match["single"]:
        value = "'" + text.replace("'", "''") + match["single"][1:]
    else:
        value = quoted(text + match["plain"])
    return match["head"] + value + match["tail"]


def edited(data: bytes, directory: Path) -> tuple[bytes, list[Edit]]:
    """Set both keys; a path that was there stays behind ours."""
    lines, edits = lines_of(data), []
    path = f"{directory}/?.lua;{directory}/lua/?.lua"
    content = list(dropwhile(HEAD.match, lines))
    if any(re.match(r"(---|\.\.\.)(\s|$)", line) for line in content[1:]):
        raise RefusalError("the YAML has several documents")
    for key, text in ((SCRIPT_KEY, f"{directory}/dispatch.lua"), (PATH_KEY, path)):
        place = place_of(lines, key)
        if place is None:
            end = "\r\n" if any(line.endswith("\r\n") for line in lines) else "\n"
            if lines and not lines[-1].endswith("\n"):
                lines[-1] += end
            lines.append(f"{key}: {quoted(text)}{end}")
            edits.append(Edit(key, None, parted(lines[-1])[0]))
        else:
            bare, end = parted(lines[place])
            is_prefix = key == PATH_KEY and not EMPTY.search(bare)
            after = with_value(bare, text + ";" if is_prefix else text, is_prefix=is_prefix)
            lines[place] = after + end
            edits.append(Edit(key, bare, after))
    return joined(lines), edits


def reverted(data: bytes, edits: list[Edit]) -> bytes:
    """Take the edits back in a YAML that changed elsewhere; refuse where their own lines changed."""
    lines = lines_of(data)
    for edit in edits:
        found = places_of(lines, edit.key)
        if len(found) != 1 or parted(lines[found[0]])[0] != edit.after:
            raise RefusalError(f"`{edit.key}` was changed in the YAML since; set it back to: {edit.after}")
        end = parted(lines[found[0]])[1]
        lines[found[0] : found[0] + 1] = [] if edit.before is None else [edit.before + end]
    return joined(lines)


# Commands ------------------------------------------------------------------------------------------------


def install(yaml: Path, directory: Path, lua: Path) -> None:
    """Copy the files, keep a copy of the YAML, and set its two lines last."""
    yaml, directory = yaml.resolve(), directory.resolve()
    if FORBIDDEN.search(str(directory)) or not str(directory).isprintable():
        raise RefusalError(f"{directory}: a Lua path cannot say this name")
    if not yaml.is_file():
        raise RefusalError(f"{yaml}: there is no such file")
    before, files = yaml.read_bytes(), sources(lua.resolve())
    after, edits = edited(before, directory)
    for name in (*files, MANIFEST, COPY):
        if os.path.lexists(directory / name):
            raise RefusalError(f"{directory / name}: is there already, and nothing is overwritten")
    contents = {name: source.read_bytes() for name, source in files.items()}
    made: list[Path] = []
    try:
        directories = _make_directories(directory, contents, made)
        for name, data in {**contents, COPY: before}.items():
            create(directory / name, data)
            made.append(directory / name)
        digests = {name: digest(data) for name, data in contents.items()}
        manifest = Manifest(str(yaml), digest(before), digest(after), edits, digests, directories)
        manifest.write(directory / MANIFEST)
        made.append(directory / MANIFEST)
        replace(yaml, after, before)
    except BaseException:
        for path in reversed(made):
            path.rmdir() if path.is_dir() else path.unlink()
        raise


def _make_directories(directory: Path, contents: dict[str, bytes], made: list[Path]) -> list[str]:
    """Make the directories that are not there; name them, the outer before the inner."""
    out = []
    inner = sorted(
        {Path(name).parent for name in contents} | {p for name in contents for p in Path(name).parents}
    )
    for path in (*reversed(directory.parents), *(directory / each for each in inner)):
        if not path.is_dir():
            path.mkdir()
            made.append(path)
            out.append(str(path))
    return out


def uninstall(directory: Path) -> list[str]:
    """Restore the YAML, then remove what was installed; what the operator changed or added stays."""
    directory = directory.resolve()
    manifest = Manifest.read(directory)
    yaml = Path(manifest.yaml)
    _restore(yaml, directory / COPY, manifest)
    kept = []
    for name, known in manifest.files.items():
        path = directory / name
        if path.is_file() and not path.is_symlink() and digest(path.read_bytes()) == known:
            path.unlink()
        elif os.path.lexists(path):
            kept.append(f"{path}: was changed since, and stays")
    (directory / COPY).unlink(missing_ok=True)
    (directory / MANIFEST).unlink()
    for name in reversed(manifest.directories):
        path = Path(name)
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    if directory.is_dir() and str(directory) in manifest.directories:
        kept.append(f"{directory}: holds files of yours, and stays")
    return kept


def _restore(yaml: Path, copy: Path, manifest: Manifest) -> None:
    """Give the YAML the bytes it had; edits of others in other lines stay."""
    if not yaml.is_file():
        raise RefusalError(f"{yaml}: is gone; a copy of what it was is {copy}")
    now = yaml.read_bytes()
    if digest(now) == manifest.sha256_before:
        return
    if digest(now) == manifest.sha256_after:
        before = copy.read_bytes() if copy.is_file() else b""
        if digest(before) != manifest.sha256_before:
            raise RefusalError(f"{copy}: is not the copy that was kept")
        replace(yaml, before, now)
    else:
        replace(yaml, reverted(now, manifest.edits), now)


def status(directory: Path) -> list[str]:
    """List what is not as it was installed; nothing where all is."""
    directory = directory.resolve()
    manifest, out = Manifest.read(directory), []
    yaml = Path(manifest.yaml)
    now = yaml.read_bytes() if yaml.is_file() else None
    if now is None:
        out.append(f"{yaml}: is gone")
    elif digest(now) == manifest.sha256_before:
        out.append(f"{yaml}: is as before the installation; the script is not in use")
    elif digest(now) != manifest.sha256_after:
        try:
            reverted(now, manifest.edits)
        except RefusalError as refusal:
            out.append(f"{yaml}: {refusal}")
    for name, known in manifest.files.items():
        path = directory / name
        if not path.is_file():
            out.append(f"{path}: is gone")
        elif digest(path.read_bytes()) != known:
            out.append(f"{path}: was changed")
    return out


# The command line ----------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """Build the parser of the three commands."""
    whole = argparse.ArgumentParser(description="Install the greybox script for a GenVM, reversibly.")
    commands = whole.add_subparsers(dest="command", required=True)
    for name, words in (
        ("install", "copy the script and set the two lines of the YAML"),
        ("uninstall", "restore the YAML and remove what was installed"),
        ("status", "say whether all is as it was installed"),
    ):
        command = commands.add_parser(name, help=words)
        command.add_argument("--into", type=Path, required=True, metavar="DIR", help="a directory of its own")
        if name == "install":
            command.add_argument("--yaml", type=Path, required=True, help="the YAML of GenVM's LLM module")
            command.add_argument("--lua", type=Path, default=HERE.parent / "lua", help="where the core is")
    return whole


def main(given: list[str] | None = None) -> int:
    """Run a command; 0: done, 1: status found something, 2: refused."""
    arguments = parser().parse_args(given)
    try:
        if arguments.command == "install":
            install(arguments.yaml, arguments.into, arguments.lua)
            print(f"installed into {arguments.into}; restart GenVM's LLM module")
            return 0
        found = (uninstall if arguments.command == "uninstall" else status)(arguments.into)
    except (RefusalError, OSError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    print("\n".join(found) or {"uninstall": "uninstalled", "status": "installed"}[arguments.command])
    return 1 if found and arguments.command == "status" else 0


if __name__ == "__main__":
    sys.exit(main())
