"""Whether what one policy admits another admits too: for every candidate, request and state, or not.

The answer is exact for filters and chains (`admission`): a solver looks for a candidate that the first
admits and the second refuses, among finitely many that stand for all (`aspects`). One that it finds is
shown to the engine before anybody else sees it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_policy_host.core.language import Language
from llm_policy_host.core.vm import Vm
from llm_policy_host.errors import CoreError, UsageError

from .admission import admission, mentions, requirements_mention
from .aspects import aspects
from .formula import All, Formula, Not, Reader, Some
from .subject import bare_engine
from .witness import Witness, witness

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llm_policy_host.core.language import Vocabulary
    from llm_policy_host.values import Plain

    from .aspects import Domain
    from .solver import Solver
    from .subject import Subject


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a counterexample is refused, and the clause that it does not meet in plain words."""

    reason: str
    clause: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether it holds; if not, whom the first admits and the second refuses, and why.

    `is_empty` says that the first admits nobody at all, so that whatever it implies means little.
    `holds` is None where the solver gave up.
    """

    holds: bool | None
    is_empty: bool = False
    counterexample: Witness | None = None
    refused: Refused | None = None


def implies(first: Subject, second: Subject, domain: Domain, solver: Solver) -> Answer:
    """Decide whether the second admits, over a domain, whatever the first admits."""
    preds = [admission(subject) for subject in (first, second)]
    language = Language(Vm())
    vocabularies = [language.vocabulary(subject.schema) for subject in (first, second)]
    said = [*mentions(preds[0]), *mentions(preds[1]), *requirements_mention(domain.required)]
    values = aspects(said, vocabularies, domain)
    around = _around(vocabularies[0], values, domain)
    one, other = (
        Reader(vocabulary, values).read(pred) for vocabulary, pred in zip(vocabularies, preds, strict=True)
    )
    found = solver.find(All((around, one, Not(other))), values)
    if found is solver.UNDECIDED:
        return Answer(holds=None)
    if found is None:
        return Answer(holds=True, is_empty=solver.find(All((around, one)), values) is None)
    shown = witness({name: values[name][place] for name, place in found.items()}, domain)
    return Answer(holds=False, counterexample=shown, refused=_proof(first, second, shown))


def _around(vocabulary: Vocabulary, values: Mapping[str, Sequence[Plain]], domain: Domain) -> Formula:
    """Say what is assumed: the routes there are, and that a request meets what every request requires."""
    reader = Reader(vocabulary, {name: tuple(each) for name, each in values.items()})
    parts: list[Formula] = []
    if domain.routes is not None:
        parts.append(Some(tuple(_of_route(reader, route) for route in domain.routes)))
    if domain.required and "meets_req" in values:
        parts.append(Some((Not(reader.read(["meets_req"])), reader.required(domain.required))))
    return All(tuple(parts))


def _of_route(reader: Reader, route: Any) -> Formula:  # noqa: ANN401 - see routes.Route
    fixed = (aspect for aspect in reader.values if route.fixes(aspect))
    return All(tuple(reader.equal(aspect, route.value(aspect)) for aspect in fixed))


def _proof(first: Subject, second: Subject, shown: Witness) -> Refused:
    """Let the engine decide the counterexample under both; give why the second refuses it."""
    reasons = [_refusal(subject, shown) for subject in (first, second)]
    if reasons[0] is not None or reasons[1] is None:
        raise CoreError(f"the engine does not confirm a counterexample: {shown}")
    return reasons[1]


def _refusal(subject: Subject, shown: Witness) -> Refused | None:
    """Give why a policy does not admit the candidate; None where it does."""
    schema = {key: value for key, value in subject.schema.items() if key != "customs"}
    engine = bare_engine({**schema, "providers": {}, "models": {}})
    engine.restore_state(shown.state())
    plan = engine.explain({**shown.contract(), "policy_ir": _filtering(subject.term)}, shown.inputs())
    if plan.get("refusal"):
        raise UsageError(f"the engine refuses a counterexample: {plan['refusal']}")
    if plan.get("ordered"):
        return None
    refused = (plan.get("rejected") or [{"reason": "chain", "clause": "it is not in the chain"}])[0]
    return Refused(refused["reason"], refused["clause"])


def _filtering(term: Plain) -> Plain:
    """Give a policy that admits what the term admits, without what needs names of its own host."""
    pred, selector = (term[1], term[3]) if term[0] == "policy" else (term, ["argmax"])
    return ["policy", pred, ["zero"], selector, ["id"], ["always", {"action": "abort"}]]
