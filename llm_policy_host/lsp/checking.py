"""What is wrong with a document, and which policies it holds, by the loader of `llm-policy check`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from lsprotocol.types import Diagnostic, DiagnosticSeverity

from llm_policy_host.clock import SystemClock
from llm_policy_host.config.load import document_of, read_config
from llm_policy_host.config.yaml_file import parse_yaml
from llm_policy_host.core.language import Identified, Language, Refusal
from llm_policy_host.core.vm import Vm
from llm_policy_host.errors import ConfigError, HostError, Problem
from llm_policy_host.spelling import encode
from llm_policy_host.wiring import Host

from .documents import is_ours, is_term
from .hover import TERM
from .neighbours import schema_of

if TYPE_CHECKING:
    from pathlib import Path

    from llm_policy_host.config.document import Document

    from .neighbours import Neighbour
    from .text import Text

SOURCE = "llm-policy"

MAX_SHOWN = 500
"""As many mistakes as anybody scrolls through."""

Warn: TypeAlias = Callable[[Host], Iterable[Problem]]
"""What `llm-policy check` warns of, of a host that looks up no secrets."""

_STEP = re.compile(r"\[(\d+)\]")
_JSON_PLACE = re.compile(r"(\d+):(\d+): (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Checked:
    """The diagnostics of a document, and what its policies are, by profile; of a term by `$`."""

    diagnostics: list[Diagnostic] = field(default_factory=list)
    identities: Mapping[str, Identified] = field(default_factory=dict)


def check(text: Text, path: Path, beside: Neighbour, warn: Warn) -> Checked:
    """Check the text that an editor has of a file; a term may name what the config beside it declares."""
    source = encode(text.text)
    if not is_ours(text.text, path):
        return Checked()
    if path.suffix == ".json":
        document = parse_yaml(text.text.replace("\t", " "), str(path))
        return _admitted(text, document, Language(Vm()).identify_json(source, schema_of(beside.data)))
    document = document_of(source, path)
    try:
        if not isinstance(document.data, list) and not is_term(text.text, path):
            return _config(text, document, path, warn)
        if document.problems:
            return _mistaken(text, document, document.problems)
        return _admitted(text, document, Language(Vm()).identify(document.data, schema_of(beside.data)))
    finally:
        if document.child is not None:
            document.child.close()


def _config(text: Text, document: Document, path: Path, warn: Warn) -> Checked:
    try:
        host = Host(read_config(document, path.parent), SystemClock(), {}, knows_secrets=False)
        warnings = [_diagnostic(text, told, document, DiagnosticSeverity.Warning) for told in warn(host)]
        return Checked(warnings, dict(_identities(host)))
    except ConfigError as error:
        return _mistaken(text, document, error.problems)
    except HostError as error:
        return _mistaken(text, document, [document.problem((), str(error))])


def _identities(host: Host) -> Iterable[tuple[str, Identified]]:
    for name in host.config.core.get("profiles") or {}:
        term = host.engine.profile_term(name)
        answer = None if term is None else host.language.identify(term, host.schema)
        if isinstance(answer, Identified):
            yield name, answer


def _admitted(text: Text, document: Document, answer: Identified | Refusal) -> Checked:
    if isinstance(answer, Identified):
        return Checked(identities={TERM: answer})
    place, detail = _JSON_PLACE.fullmatch(answer.detail), answer.detail
    if place is not None and answer.code == "not_a_term":
        line, column, detail = int(place[1]), int(place[2]), place[3]
    else:
        # argument k of an operation is entry k + 1 of its list
        line, column = document.locate([int(step) + 1 for step in _STEP.findall(answer.path)])
    problem = Problem(document.file, line, column, answer.path, f"{answer.code}: {detail}")
    return _mistaken(text, document, [problem])


def _mistaken(text: Text, document: Document, problems: Sequence[Problem]) -> Checked:
    shown = [*problems[:MAX_SHOWN]]
    if len(problems) > MAX_SHOWN:
        shown.append(document.problem((), f"{len(problems) - MAX_SHOWN} more mistakes"))
    return Checked([_diagnostic(text, problem, document) for problem in shown])


def _diagnostic(
    text: Text, problem: Problem, document: Document, severity: DiagnosticSeverity = DiagnosticSeverity.Error
) -> Diagnostic:
    """Tell a mistake or a warning; one in a script's own file stands where scripts are given."""
    hint = f" (did you mean `{problem.nearest}`?)" if problem.nearest else ""
    message = f"{problem.path}: {problem.detail}{hint}"
    line, column = problem.line, problem.column
    if problem.file != document.file:
        message = str(problem)
        line, column = document.locate(("host", "scripts"), key=True)
    return Diagnostic(text.range_at(line, column), message, severity=severity, source=SOURCE)
