"""Flows (spec 2.6): admission, canonical order, encoding of a DAG of model calls.

A flow is `["flow", nodes]` with nodes id -> {kind, inputs, system, policy, template}. The rules
below are applied in this order; the first that fails is the refusal.

1. The whole, at `$`: no table, not dense, or no string first: `not_a_term`; another word than
   `flow`: `unknown_op`; not exactly one argument: `arity`.
2. The nodes, at `$.nodes`: no table, or a non-empty list: `not_a_term`; more than 256:
   `too_large`; then an id that is no name of 1 to 256 bytes: `bad_name` (at `$.nodes`).
3. Each node in byte order of the ids, at P = `$.nodes.<id>` (the id as it is, never quoted):
   a. no table, an empty one or a list: `not_a_term` at P;
   b. a key that is none of the five: `not_a_term` at P;
   c. `kind` absent or none of input, llm, output: `unknown_op` at `P.kind`;
   d. `inputs` (absent: `[]`): no dense list: `not_a_term`, more than 32: `too_large`, both at
      `P.inputs`; then each entry k from 1, at `P.inputs[k]`: no name, or no node of that id:
      `bad_name`; the id of an output node: `sort_mismatch`. The same id twice is allowed;
   e. `arity` at `P.inputs`: an input node with an input, an llm or output node without any;
   f. `system`, then `template`: present and no string: `bad_scalar`; more than 262144 bytes:
      `too_large`; both at `P.system`, `P.template`. `arity` there when an input node has either,
      or an output node has `system` (its `template` assembles the answer, and is allowed);
   g. `policy`: absent on an llm node, or present on another: `arity` at `P.policy`; on an llm node
      the refusal of `check` for a Policy, its `$` replaced by `P.policy`.
   A node whose kind (c) is at fault counts, in d of another, as no output.
4. The graph, at `$.nodes`: not exactly one input and one output node: `arity`; a cycle: `too_deep`.
5. Each llm node in byte order of the ids: no path to the output: `arity` at P. (From the input
   there always is one, by 3e and 4.)

Normal form: policies in normal form, and ids `n0`, `n1` ... given one by one: among the nodes
whose inputs all have an id, the least by (bytes of the content key, the numbers of its inputs
compared entry by entry, a shorter prefix first). The content key is the node's encoding without
id and inputs: `<kind>`, then ` system=<str>`, ` policy=<encode>`, ` template=<str>`, absent parts
left out. Equal ones go in order of their first visit in a walk from the output, depth first,
inputs in order, a node before its inputs: so the ids that the author chose never matter.

Encoding: `sigma-flow/v1:(` nodes joined by single spaces `)`, each
`(<kind> <id>[ system=<str>][ policy=<encode of the policy>][ template=<str>][ inputs=[n0,n1]])`;
`inputs` is absent on the input node. Fingerprint and identity are taken of the encoding of the
normal form, as for terms (1.4). The 256 KiB of 1.2 bound each policy, not the flow.
"""

# One case a rule, as in the spec.
# ruff: noqa: PLR0911
from __future__ import annotations

from .language import MAX_ENCODING, Refusal, check, e_string, encode, normal_form
from .signature import Schema, dense, is_name, raw
from .transport import Data

KINDS = ("input", "llm", "output")
PARTS = {"kind", "inputs", "system", "policy", "template"}
MAX_NODES, MAX_INPUTS = 256, 32
Nodes = dict[str, dict[str, Data]]


def check_flow(flow: Data, schema: Schema) -> str | Refusal:
    """Answer `Flow` or the first refusal."""
    if not (entries := dense(flow)) or not isinstance(entries[0], str):
        return Refusal("not_a_term", "$")
    if entries[0] != "flow":
        return Refusal("unknown_op", "$")
    if len(entries) != len(("flow", "nodes")):
        return Refusal("arity", "$")
    nodes = {} if entries[1] == [] else entries[1]
    if not isinstance(nodes, dict):
        return Refusal("not_a_term", "$.nodes")
    if len(nodes) > MAX_NODES:
        return Refusal("too_large", "$.nodes")
    if not all(map(is_name, nodes)):
        return Refusal("bad_name", "$.nodes")
    for name in sorted(nodes, key=raw):
        if refusal := _node_fault(nodes, name, schema):
            return refusal
    return _graph_fault(nodes) or "Flow"


def _node_fault(nodes: Data, name: str, schema: Schema) -> Refusal | None:
    path, node = f"$.nodes.{name}", nodes[name]
    if not isinstance(node, dict) or not node or not set(node) <= PARTS:
        return Refusal("not_a_term", path)
    kind = node.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        return Refusal("unknown_op", path + ".kind")
    return (
        _inputs_fault(nodes, node, path + ".inputs")
        or _text_fault(node, "system", ("llm",), path)
        or _text_fault(node, "template", ("llm", "output"), path)
        or _policy_fault(node, path + ".policy", schema)
    )


def _inputs_fault(nodes: Data, node: Data, path: str) -> Refusal | None:
    inputs = dense(node.get("inputs", []))
    if inputs is None:
        return Refusal("not_a_term", path)
    if len(inputs) > MAX_INPUTS:
        return Refusal("too_large", path)
    for k, each in enumerate(inputs, 1):
        if not is_name(each) or each not in nodes:
            return Refusal("bad_name", f"{path}[{k}]")
        if isinstance(nodes[each], dict) and nodes[each].get("kind") == "output":
            return Refusal("sort_mismatch", f"{path}[{k}]")
    if bool(inputs) == (node["kind"] == "input"):
        return Refusal("arity", path)
    return None


def _text_fault(node: Data, key: str, kinds: tuple[str, ...], path: str) -> Refusal | None:
    text = node.get(key)
    if text is None:
        return None
    if not isinstance(text, str):
        return Refusal("bad_scalar", f"{path}.{key}")
    if len(raw(text)) > MAX_ENCODING:
        return Refusal("too_large", f"{path}.{key}")
    return None if node["kind"] in kinds else Refusal("arity", f"{path}.{key}")


def _policy_fault(node: Data, path: str, schema: Schema) -> Refusal | None:
    if ("policy" in node) != (node["kind"] == "llm"):
        return Refusal("arity", path)
    if "policy" not in node:
        return None
    answer = check(node["policy"], schema, "Policy", path)
    return answer if isinstance(answer, Refusal) else None


def _inputs(node: Data) -> list[str]:
    return dense(node.get("inputs", [])) or []


def _graph_fault(nodes: Nodes) -> Refusal | None:
    kinds = [node["kind"] for node in nodes.values()]
    if kinds.count("input") != 1 or kinds.count("output") != 1:
        return Refusal("arity", "$.nodes")
    done: set[str] = set()
    while ready := [n for n in nodes if n not in done and done.issuperset(_inputs(nodes[n]))]:
        done.update(ready)
    if len(done) < len(nodes):
        return Refusal("too_deep", "$.nodes")
    used = _walk(nodes)
    for name in sorted(nodes, key=raw):
        if nodes[name]["kind"] == "llm" and name not in used:
            return Refusal("arity", f"$.nodes.{name}")
    return None


def _walk(nodes: Nodes) -> list[str]:
    """List the nodes in order of their first visit, from the output towards the input."""
    pending = [name for name in nodes if nodes[name]["kind"] == "output"]
    seen: list[str] = []
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.append(name)
            pending += reversed(_inputs(nodes[name]))
    return seen


def _content(node: Data) -> str:
    words = [node["kind"]]
    if "system" in node:
        words.append("system=" + e_string(node["system"]))
    if "policy" in node:
        words.append("policy=" + encode(normal_form(node["policy"])))
    if "template" in node:
        words.append("template=" + e_string(node["template"]))
    return " ".join(words)


def encode_flow(flow: Data) -> str:
    """Write the normal form of an admitted flow."""
    nodes: Nodes = flow[1]
    visits = _walk(nodes)
    place: dict[str, int] = {}
    texts = []
    while len(place) < len(nodes):
        ready = [n for n in nodes if n not in place and place.keys() >= set(_inputs(nodes[n]))]
        name = min(
            ready,
            key=lambda n: (
                raw(_content(nodes[n])),
                [place[each] for each in _inputs(nodes[n])],
                visits.index(n),
            ),
        )
        kind, *rest = _content(nodes[name]).split(" ", 1)
        inputs = ",".join(f"n{place[each]}" for each in _inputs(nodes[name]))
        tail = [f"inputs=[{inputs}]"] if inputs else []
        texts.append("(" + " ".join([kind, f"n{len(place)}", *rest, *tail]) + ")")
        place[name] = len(place)
    return "sigma-flow/v1:(" + " ".join(texts) + ")"
