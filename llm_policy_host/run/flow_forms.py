"""What a flow may be written with beside the language's own words: `independent_of`, and the form `audit`.

Both become plain terms. `independent_of: draft` of a node that has `draft` as its second input is the filter
`not (provider_eq "@input 2")`: it is a part of the flow's identity, and says the same whatever its author
called his nodes. When the node is to run, the name of who answered takes the place of `@input 2`, and the
policy made thus is the one whose identity the ledger and the trace have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from llm_policy_host.core.language import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llm_policy_host.core.language import IdentifiedFlow, Language
    from llm_policy_host.values import Plain


class HasProfiles(Protocol):
    """Who knows the terms of profiles."""

    def profile_term(self, name: str, *, is_bare: bool = False) -> Plain:
        """Give a profile's term, the bare one without the operator's envelope; None where there is none."""


INDEPENDENT: Final = "independent_of"
_INPUT: Final = "@input "

ROLES: Final = ("draft", "audit", "revise")
"""The nodes of the form `audit`; each names its policy, a later one that does not has the one before's."""

AUDIT: Final = (
    "Input 1 is a task, input 2 a draft of its answer by another. Audit the draft: list each error, gap and "
    "unsupported claim, and what would be right. If there is none, say so. Do not write the answer anew."
)
REVISE: Final = (
    "Input 1 is a task, input 2 a draft of its answer, input 3 an audit of the draft. Write the answer: keep "
    "what is right in the draft, and mend what the audit is right about. Give the answer alone."
)


def read_flow(
    form: Plain, engine: HasProfiles, language: Language, schema: Mapping[str, Any]
) -> IdentifiedFlow | Refusal:
    """Admit a flow as a config has it."""
    flow = expanded(form, lambda profile: engine.profile_term(profile, is_bare=True))
    flow = flow if isinstance(flow, Refusal) else lowered(flow)
    return flow if isinstance(flow, Refusal) else language.identify_flow(flow, schema)


def expanded(form: Plain, policy_of: Callable[[str], Plain]) -> Plain | Refusal:
    """Give the flow that a config names: a term as it is, or the form `{audit: {draft, audit, revise}}`.

    `policy_of` gives a profile's term, None where there is none.
    """
    if not isinstance(form, dict):
        return form
    roles = form.get("audit")
    if set(form) != {"audit"} or not isinstance(roles, dict):
        return Refusal("not_a_term", "$", "a flow is a term, or `{audit: {draft, audit, revise}}`")
    if "draft" not in roles or set(roles) - set(ROLES):
        return Refusal("not_a_term", "$.audit", "has a `draft`, and may have `audit` and `revise`: policies")
    policies: dict[str, Plain] = {}
    policy: Plain = None
    for role in ROLES:
        given = roles.get(role)
        if isinstance(given, str):
            policy = policy_of(given)
            if policy is None:
                return Refusal("bad_name", f"$.audit.{role}", f"no profile `{given}` has a term")
        elif given is not None:
            policy = given
        policies[role] = policy
    return ["flow", _audit_nodes(policies)]


def _audit_nodes(policies: Mapping[str, Plain]) -> dict[str, Any]:
    return {
        "task": {"kind": "input"},
        "draft": {"kind": "llm", "inputs": ["task"], "policy": policies["draft"]},
        "audit": {
            "kind": "llm",
            "inputs": ["task", "draft"],
            "policy": policies["audit"],
            "system": AUDIT,
            INDEPENDENT: "draft",
        },
        "revise": {
            "kind": "llm",
            "inputs": ["task", "draft", "audit"],
            "policy": policies["revise"],
            "system": REVISE,
        },
        "answer": {"kind": "output", "inputs": ["revise"]},
    }


def lowered(flow: Plain) -> Plain | Refusal:
    """Give a flow in the language's own words; what is no flow is left for the core to refuse."""
    nodes = flow[1] if isinstance(flow, list) and len(flow) > 1 else None
    if not isinstance(nodes, dict):
        return flow
    made = {}
    for name, node in nodes.items():
        made[name] = node
        if isinstance(node, dict) and INDEPENDENT in node:
            answer = _independent(str(name), node, nodes)
            if isinstance(answer, Refusal):
                return answer
            made[name] = answer
    return [flow[0], made, *flow[2:]]


def _independent(name: str, node: Mapping[str, Any], nodes: Mapping[str, Any]) -> Plain | Refusal:
    """Write a node's independence into its policy's filter."""
    path = f"$.nodes.{name}.{INDEPENDENT}"
    inputs, policy, others = node.get("inputs"), node.get("policy"), node[INDEPENDENT]
    others = [others] if isinstance(others, str) else others
    if not isinstance(others, list) or not others:
        return Refusal("bad_scalar", path, "the id of an input, or a list of such ids")
    is_policy = isinstance(policy, list) and policy[:1] == ["policy"] and len(policy) > 1
    if not isinstance(inputs, list) or not is_policy or policy is None:
        return Refusal("sort_mismatch", path, "only a node with inputs and a policy is independent of one")
    terms = []
    for other in others:
        if other not in inputs:
            return Refusal("bad_name", path, "is none of the node's inputs")
        if not isinstance(nodes.get(other), dict) or nodes[other].get("kind") != "llm":
            return Refusal("sort_mismatch", path, "nobody answers this input: it is no llm node")
        terms.append(["not", ["provider_eq", f"{_INPUT}{inputs.index(other) + 1}"]])
    kept = {key: value for key, value in node.items() if key != INDEPENDENT}
    return {**kept, "policy": ["policy", ["and", *terms, policy[1]], *policy[2:]]}


def bound(policy: Plain, answered: Mapping[int, str]) -> Plain:
    """Put who answered each input, by its number from 1, in the place of `@input` and that number."""
    if not isinstance(policy, list):
        return policy
    if len(policy) == 2 and policy[0] == "provider_eq" and isinstance(policy[1], str):
        digits = policy[1].removeprefix(_INPUT)
        if digits != policy[1] and digits.isdecimal():
            return ["provider_eq", answered.get(int(digits), policy[1])]
        return policy
    return [bound(part, answered) for part in policy]
