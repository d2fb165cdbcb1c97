"""A file of cases: read, checked, every mistake with its place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llm_policy_host.config.load import read_document
from llm_policy_host.config.settings import read_parts
from llm_policy_host.errors import ConfigError, UsageError
from llm_policy_host.values import nothing

from .rows import CASE, FILE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from llm_policy_host.config.document import Document, Position

SUFFIX = ".test.yaml"
_USUAL = "policy.yaml"
_SHARED = ("profile", "policy", "now_ms", "seed")


@dataclass(frozen=True, slots=True)
class Case:
    """One case: what is tried, and what must come of it. `at` leads to it in its file."""

    name: str
    at: tuple[str | int, ...]
    profile: str | None = None
    policy: str | None = None
    now_ms: int = 0
    seed: int = 0
    catalog: Mapping[str, Any] = field(default_factory=nothing)
    state: Mapping[str, Any] = field(default_factory=nothing)
    request: Mapping[str, Any] = field(default_factory=nothing)
    body: Mapping[str, Any] | None = None
    script: Mapping[str, Any] = field(default_factory=nothing)
    expect: Mapping[str, Any] = field(default_factory=nothing)


@dataclass(frozen=True, slots=True)
class CaseFile:
    """The cases of a file and the config that they are about."""

    path: Path
    config: Path
    cases: tuple[Case, ...]
    document: Document
    profile: str | None = None
    policy: str | None = None

    def place(self, case: Case, *below: str | int) -> Position:
        """Find where a part of a case stands."""
        return self.document.locate((*case.at, *below))


def find_files(path: Path) -> list[Path]:
    """Give the case files that a path names: itself, those of a config, or all below a folder."""
    if path.is_dir():
        found = sorted(file for file in path.rglob(f"*{SUFFIX}") if ".venv" not in file.parts)
    elif path.name.endswith(SUFFIX):
        found = [path]
    else:
        found = [path.with_name(path.name.rpartition(".")[0] + SUFFIX)]
    missing = next((file for file in found if not file.is_file()), None)
    if missing is not None:
        raise UsageError(f"no file `{missing}`")
    if not found:
        raise UsageError(f"no case files below `{path}`: they end in `{SUFFIX}`")
    return found


def read_case_file(path: Path) -> CaseFile:
    """Read a file; `ConfigError` holds every mistake in it."""
    document = read_document(path)
    good = _resolved(path, read_parts(document, (), FILE, document.data))
    shared = {name: good[name] for name in (*_SHARED, "catalog", "state") if name in good}
    cases = tuple(_cases(document, path, good.get("cases") or [], shared))
    if document.problems:
        raise ConfigError(document.problems)
    return CaseFile(
        path, _config(path, good.get("config")), cases, document, good.get("profile"), good.get("policy")
    )


def _config(path: Path, named: str | None) -> Path:
    if named is not None:
        return path.parent / named
    own = path.with_name(path.name.removesuffix(SUFFIX) + ".yaml")
    return own if own.is_file() else path.with_name(_USUAL)


def _resolved(path: Path, good: dict[str, Any]) -> dict[str, Any]:
    """Name a policy's file from where the cases stand."""
    return {**good, "policy": str(path.parent / good["policy"])} if "policy" in good else good


def _cases(document: Document, path: Path, given: list[Any], shared: Mapping[str, Any]) -> list[Case]:
    found: list[Case] = []
    for place, data in enumerate(given, 1):
        at = ("cases", place)
        good = _resolved(path, read_parts(document, at, CASE, data))
        _check(document, at, good, [case.name for case in found])
        found.append(_case(good, at, shared))
    return found


def _check(document: Document, at: tuple[str | int, ...], good: Mapping[str, Any], names: list[str]) -> None:
    if document.problems:
        return
    if "name" not in good:
        document.report(at, "a case needs a `name`")
    elif good["name"] in names:
        document.report((*at, "name"), f"the case `{good['name']}` stands here twice")
    if not good.get("expect"):
        document.report(at, "a case needs an `expect`: what must come of it")
    for one, other in (("profile", "policy"), ("request", "body")):
        if one in good and other in good:
            document.report((*at, other), f"both `{one}` and `{other}` are given", key=True)


def _case(good: Mapping[str, Any], at: tuple[str | int, ...], shared: Mapping[str, Any]) -> Case:
    """Make a case; what the file says for all stands under what it says itself."""
    own = {key: value for key, value in good.items() if key != "name"}
    base = dict(shared)
    if "profile" in own or "policy" in own:
        base.pop("profile", None)
        base.pop("policy", None)
    whole = {**base, **own}
    for part in ("catalog", "state"):
        if part in base and part in own:
            whole[part] = {
                key: {**base[part].get(key, {}), **own[part].get(key, {})}
                for key in {**base[part], **own[part]}
            }
    return Case(good.get("name", ""), at, **whole)
