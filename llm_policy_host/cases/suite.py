"""All cases of one or more files: played, and their coverage measured by policy."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_policy_host.config.names import nearest
from llm_policy_host.config.policy_files import read_policy_file
from llm_policy_host.core.engine import LuaEngine
from llm_policy_host.errors import ConfigError, HostError, Problem, UsageError
from llm_policy_host.providers.scripted import check_scripts
from llm_policy_host.run.shape import shape
from llm_policy_host.values import Contract, Inputs
from llm_policy_host.wiring import Host

from .case_file import Case, CaseFile, read_case_file
from .coverage import Coverage, measure
from .playing import Outcome, Player
from .world import read_route

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from llm_policy_host.values import Plain


@dataclass(slots=True)
class _Bench:
    """A config, the files whose cases are about it, and what came of them."""

    host: Host
    engine: LuaEngine
    files: list[CaseFile] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    terms: dict[str, Plain] = field(default_factory=dict)


@dataclass(slots=True)
class Suite:
    """What came of every case, and of what is missing besides."""

    outcomes: list[tuple[CaseFile, Outcome]] = field(default_factory=list)
    coverage: list[Coverage] = field(default_factory=list)
    empty: list[CaseFile] = field(default_factory=list)
    untested: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def is_ok(self) -> bool:
        """Whether there are cases in every file, and all are as they should be."""
        return not self.empty and all(outcome.is_ok for _, outcome in self.outcomes)


def play_files(paths: Sequence[Path]) -> Suite:
    """Play every case of some files; `ConfigError` has every mistake in them or in their configs."""
    suite, benches = Suite(), {}
    files, problems = _read_all(paths)
    for file in files:
        key = file.config.resolve()
        if key not in benches:
            benches[key] = _bench(file.config)
        benches[key].files.append(file)
        problems += _check(benches[key], file)
    if problems:
        raise ConfigError(problems)
    for bench in benches.values():
        _play(bench, suite)
    return suite


def _read_all(paths: Sequence[Path]) -> tuple[list[CaseFile], list[Problem]]:
    files: list[CaseFile] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            files.append(read_case_file(path))
        except ConfigError as error:
            problems += error.problems
    return files, problems


def _bench(config: Path) -> _Bench:
    host = Host.from_config(config, environment={})
    if not isinstance(host.engine, LuaEngine):
        raise UsageError(f"`{config}` holds functions of its host: cases are for policies that are data")
    return _Bench(host, host.engine)


def _check(bench: _Bench, file: CaseFile) -> Iterator[Problem]:
    """Give the names in cases that name nothing, and policies that are none."""
    core = bench.host.config.core
    profiles = core.get("profiles") or {}
    whole = Case("", (), file.profile, file.policy)
    for case in (whole, *file.cases):
        if case.profile is not None and case.profile not in profiles:
            near = nearest(case.profile, profiles)
            detail = f"no profile `{case.profile}`"
            yield file.document.problem((*case.at, "profile"), detail, near=near)
        if case.policy is not None:
            detail = _read_policy(bench, case.policy)
            if detail:
                yield file.document.problem((*case.at, "policy"), detail)
        yield from _check_names(file, case, core)


def _read_policy(bench: _Bench, path: str) -> str:
    """Read a policy's file once; say what is wrong with it."""
    if path in bench.terms:
        return ""
    try:
        bench.terms[path] = read_policy_file(Path(path))
    except HostError as error:
        return str(error)
    told = bench.engine.explain(shape(Contract(policy_ir=bench.terms[path])), Inputs(0))
    wrong = told.get("refusal")
    return f"the policy is refused: {wrong['code']} at {wrong['path']}: {wrong['detail']}" if wrong else ""


def _check_names(file: CaseFile, case: Case, core: Mapping[str, Any]) -> Iterator[Problem]:
    known = {**(core.get("providers") or {}), **case.catalog.get("providers", {})}
    places: list[tuple[tuple[str, ...], str]] = [(("script", name), name) for name in case.script]
    for part in ("credits", "disabled", "breakers"):
        places += [(("state", part, name), read_route(name)[0]) for name in case.state.get(part, {})]
    for at, name in places:
        if name not in known:
            near = nearest(name, known)
            yield file.document.problem((*case.at, *at), f"no provider `{name}`", near=near, key=True)
    for name, turns in case.script.items():
        try:
            check_scripts({name: turns})
        except HostError as error:
            yield file.document.problem((*case.at, "script", name), str(error))


def _play(bench: _Bench, suite: Suite) -> None:
    player = Player(bench.host, bench.terms)
    for file in bench.files:
        if not file.cases:
            suite.empty.append(file)
        for case in file.cases:
            outcome = player.play(case)
            bench.outcomes.append(outcome)
            suite.outcomes.append((file, outcome))
    empty = [(file.profile, file.policy) for file in bench.files if not file.cases]
    named = dict.fromkeys([*((one.case.profile, one.case.policy) for one in bench.outcomes), *empty])
    for profile, policy in named:
        measured = _measured(bench, profile, policy)
        if measured is not None and measured.policy_id not in (one.policy_id for one in suite.coverage):
            suite.coverage.append(measured)
    if any(case.policy is None for file in bench.files for case in (file.cases or (file,))):
        _note_untested(bench, suite)


def _measured(bench: _Bench, profile: str | None, policy: str | None) -> Coverage | None:
    """Measure one policy; one without identity, or that waits for a chain, is none to measure."""
    term = None if policy is None else bench.terms[policy]
    contract = shape(Contract(profile=None if term is not None else profile, policy_ir=term))
    told = bench.engine.explain(contract, Inputs(0))
    if told.get("error") or not told["policy"].get("id"):
        return None
    nodes = bench.engine.truths(contract, Inputs(0))["nodes"]
    name = policy or profile or _default(bench.host)
    return measure(name, told["policy"], nodes, bench.outcomes, bench.engine.candidates)


def _default(host: Host) -> str:
    core = host.config.core
    names = sorted(core.get("profiles") or {})
    return (core.get("defaults") or {}).get("profile") or (names[0] if len(names) == 1 else "default")


def _note_untested(bench: _Bench, suite: Suite) -> None:
    tested = {one.policy_id for one in suite.coverage if one.cases}
    path = bench.files[0].config
    for name in sorted(bench.host.config.core.get("profiles") or {}):
        told = bench.engine.explain(shape(Contract(profile=name)), Inputs(0))
        if (told.get("policy") or {}).get("id") not in tested:
            suite.untested.append((path, name))
