"""What is wrong in a config (spec 2.2): the paths of all mistakes, sorted by bytes, each once.

A path is `$`, `.key` for keys of letters, digits and underscores that do not start with a digit,
else `["key"]` (the key as 1.4 quotes it), `[2]` for list places from 1. Where a mistake stands:

- an unknown key, a wrong type, a number that is not finite (or negative, where it counts, costs or
  lasts), a word outside its closed set, a dangling name: at the value;
- a missing key that must be there: at the path it would have (`base_url` of a static provider
  that is not scripted, ollama or bedrock,
  `discovery_id` of a marketplace, `served_by` of a model, `provider` of a served_by, `sort` of a
  field, `action` of an Action);
- an `extends` that leads back to its own profile: at the `extends` of each profile of the ring;
- a redeclared core field: at the field; a routing target as parameter: at its place in `params`;
- a filter clause: at its key, a list's entry at its place, `cmp` at the place in the triple;
  a scorer, `policy_ir` and `policy_envelope`: the refusal's path in the term, its `$` replaced by
  the key's path; `selector_opts.temp` and `.k`; `chain` as a whole; a `mutate` map: at the parameter.

A profile's own keys are checked, what it inherits is checked where it stands. A table of wrong type
is one mistake; nothing is looked for inside.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from .language import ACTIONS, MAX_ENTRIES, Refusal, check, e_string
from .signature import CORE_BOOLEANS, CORE_NUMBERS, NEVER_PARAMS, Schema, dense, is_name, number, raw, record
from .sugar import NAMED, SELF
from .transport import FUNCTION, Data

Config = dict[str, Data]
Check = Callable[[Data], bool]
FAILURE_KINDS = [
    "rate_limit",
    "timeout",
    "server_error",
    "auth_error",
    "bad_request",
    "content_filter",
    "model_unavailable",
    "context_overflow",
    "network_error",
    "payment_required",
    "bad_response",
    "empty_completion",
    "stream_interrupted",
    "unknown",
]
API_KINDS = [
    "openai_compatible",
    "openai_codex",
    "anthropic",
    "google",
    "bedrock",
    "ollama",
    "scripted",
    "peer",
]
SELECTORS = ["argmax", "ordered", "chain", "sample", "softmax_sample", "top_k"]


def observe_config(case: Data) -> Data:
    """Answer the paths of the mistakes of a config."""
    mistakes = Mistakes(case["config"])
    mistakes.find()
    return {"errors": sorted(mistakes.paths, key=raw)}


def at(path: str, key: str | int) -> str:
    """Extend a path by a key or a list place."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    is_word = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key)
    return f"{path}.{key}" if is_word else f"{path}[{e_string(key)}]"


def _is_count(value: Data) -> bool:
    double = number(value)
    return double is not None and double >= 0


def _is_text(value: Data) -> bool:
    return isinstance(value, str)


def _is_flag(value: Data) -> bool:
    return isinstance(value, bool)


def _one_of(words: list[str]) -> Check:
    return lambda value: isinstance(value, str) and value in words


ADDRESSED = ("scripted", "ollama", "bedrock", "openai_codex")
PROVIDER: dict[str, Check] = {
    "discovery": _one_of(["static", "marketplace"]),
    "api_kind": _one_of(API_KINDS),
    "auth": lambda value: isinstance(value, dict),
    "has_tee": _is_flag,
    "no_log": _is_flag,
}
PROVIDER |= dict.fromkeys(
    ["base_url", "discovery_id", "auth_env", "tier", "scope", "region", "aws_region", "source", "notes"],
    _is_text,
)
SERVED: dict[str, Check] = {
    "provider": _is_text,
    "provider_model_id": _is_text,
}
SERVED |= dict.fromkeys(["price_in", "price_out", "tok_s", "latency_ms", "success_rate"], _is_count)
DEFAULTS: dict[str, Check] = {"profile": _is_text}
DEFAULTS |= dict.fromkeys(
    [
        *("timeout_ms", "circuit_breaker_threshold", "circuit_breaker_failure_ms"),
        *("circuit_breaker_rate_limit_ms", "disable_provider_ttl_ms"),
    ],
    _is_count,
)


class Mistakes:
    """The mistakes of one config."""

    def __init__(self, config: Data) -> None:
        self.config, self.paths = config, set[str]()
        self.schema = self._schema()

    def _schema(self) -> Schema:
        """Read what the config declares, as far as it is well formed."""
        root = record(self.config)
        fields = record(root.get("fields"))
        names = {
            key: [n for n in dense(root.get(key)) or [] if is_name(n)] for key in ("params", "tier_order")
        }
        return Schema.read({"fields": fields, **names, "customs": record(root.get("customs"))})

    def find(self) -> None:
        """Look at every part; what is no table at all is one mistake."""
        parts = {
            "fields": self.fields,
            "params": self.params,
            "tier_order": self.tier_order,
            "customs": self.customs,
            "providers": self.providers,
            "models": self.models,
            "retry_policies": self.retry_policies,
            "profiles": self.profiles,
            "policy_envelope": lambda path, term: self.term(path, term, "Pred"),
            "defaults": self.defaults,
        }
        root = self.table("$", self.config)
        for key, value in root.items():
            if key in parts:
                parts[key](at("$", key), value)
            else:
                self.paths.add(at("$", key))

    def table(self, path: str, value: Data) -> Config:
        """Read a record; anything else is a mistake."""
        if not isinstance(value, dict) and value != []:
            self.paths.add(path)
        return record(value)

    def list(self, path: str, value: Data) -> list[tuple[str, Data]]:
        """Read a list with the paths of its places."""
        entries = dense(value)
        if entries is None:
            self.paths.add(path)
        return [(at(path, k), each) for k, each in enumerate(entries or [], 1)]

    def needs(self, path: str, *, good: bool) -> None:
        """Note a mistake unless all is well."""
        if not good:
            self.paths.add(path)

    def closed(self, path: str, value: Data, keys: dict[str, Check]) -> Config:
        """Read a record of known keys, each with its check."""
        table = self.table(path, value)
        for key, each in table.items():
            self.needs(at(path, key), good=key in keys and keys[key](each))
        return table

    def fields(self, path: str, value: Data) -> None:
        """Declared fields, which no core field may be."""
        for name, spec in self.table(path, value).items():
            if name in CORE_NUMBERS or name in CORE_BOOLEANS:
                self.paths.add(at(path, name))
                continue
            own = self.closed(
                at(path, name), spec, {"sort": _one_of(["Num", "Bool"]), "default": lambda _: True}
            )
            if spec != own:
                continue
            self.needs(at(at(path, name), "sort"), good="sort" in own)
            default, sort = own.get("default"), own.get("sort")
            fits = number(default) is not None if sort == "Num" else isinstance(default, bool)
            if sort in ("Num", "Bool") and "default" in own:
                self.needs(at(at(path, name), "default"), good=fits)

    def params(self, path: str, value: Data) -> None:
        """Declared parameters, which no routing target may be."""
        for place, each in self.list(path, value):
            self.needs(place, good=is_name(each) and each not in NEVER_PARAMS)

    def tier_order(self, path: str, value: Data) -> None:
        """Names, lowest first, each once."""
        names = [each for _, each in self.list(path, value)]
        for k, each in enumerate(names):
            self.needs(at(path, k + 1), good=is_name(each) and each not in names[:k])

    def customs(self, path: str, value: Data) -> None:
        """Functions by name."""
        for name, each in self.table(path, value).items():
            self.needs(at(path, name), good=each is FUNCTION)

    def providers(self, path: str, value: Data) -> None:
        """Providers by name, with the address that their discovery asks for."""
        for name, provider in self.table(path, value).items():
            here = at(path, name)
            own = self.closed(here, provider, PROVIDER)
            self.needs(here, good="|" not in name)
            if here in self.paths:
                continue
            key = "base_url" if own.get("discovery", "static") == "static" else "discovery_id"
            is_known = key == "base_url" and own.get("api_kind") in ADDRESSED
            self.needs(at(here, key), good=key in own or is_known or at(here, "discovery") in self.paths)

    def models(self, path: str, value: Data) -> None:
        """Models by family, each served by known providers."""
        providers = record(self.config.get("providers"))
        declared = record(self.config.get("fields"))
        for family, model in self.table(path, value).items():
            here = at(path, family)
            keys = {"served_by": lambda _: True, "capabilities": lambda v: isinstance(v, dict) or v == []}
            own = self.closed(here, model, keys)
            if here in self.paths:
                continue
            self.needs(at(here, "served_by"), good="served_by" in own)
            for place, served in self.list(at(here, "served_by"), own.get("served_by", [])):
                checks = {name: _fits(spec) for name, spec in declared.items()} | SERVED
                route = self.closed(place, served, checks)
                if place not in self.paths:
                    self.needs(at(place, "provider"), good=route.get("provider") in providers)

    def retry_policies(self, path: str, value: Data) -> None:
        """Failure kinds and their actions."""
        for name, actions in self.table(path, value).items():
            for kind, action in self.table(at(path, name), actions).items():
                here = at(at(path, name), kind)
                if kind in FAILURE_KINDS:
                    self.action(here, action)
                else:
                    self.paths.add(here)

    def action(self, path: str, value: Data) -> None:
        """An Action (1.6)."""
        own = self.table(path, value)
        if path in self.paths:
            return
        self.needs(at(path, "action"), good="action" in own)
        for key, each in own.items():
            if key in ("action", "then_action"):
                good = isinstance(each, str) and each in ACTIONS
            elif key == "backoff_ms":
                steps = dense(each) or []
                good = _is_count(each) or (1 <= len(steps) <= MAX_ENTRIES and all(map(_is_count, steps)))
            elif key in ("attempts", "open_breaker_ms"):
                good = _is_count(each)
            else:
                good = number(each) is not None
            self.needs(at(path, key), good=good)

    def profiles(self, path: str, value: Data) -> None:
        """Profiles: the keys of 1.8."""
        profiles = self.table(path, value)
        parts: dict[str, Callable[[str, Data], None]] = {
            "extends": lambda where, name: self.needs(where, good=_name_in(name, profiles)),
            "filter": self.filter,
            "scorer": lambda where, term: self.term(where, term, "Scorer"),
            "selector": lambda where, word: self.needs(where, good=_one_of(SELECTORS)(word)),
            "selector_opts": self.selector_opts,
            "chain": lambda where, links: self.parameter(where, ["chain", links]),
            "mutate": self.mutate,
            "retry_policy": lambda where, name: self.needs(
                where, good=_name_in(name, record(self.config.get("retry_policies")))
            ),
            "policy_ir": lambda where, term: self.term(where, term, "Policy"),
        }
        for name, profile in profiles.items():
            here = at(path, name)
            for key, each in self.table(here, profile).items():
                if key in parts:
                    parts[key](at(here, key), each)
                else:
                    self.paths.add(at(here, key))
            self.needs(at(here, "extends"), good=not _leads_back(name, profiles))

    def term(self, path: str, term: Data, sort: str) -> None:
        """A term of a sort; its refusal's path, from here."""
        answer = check(term, self.schema, sort, path)
        if isinstance(answer, Refusal):
            self.paths.add(answer.path)

    def parameter(self, path: str, term: Data) -> None:
        """What lowers to this term; any refusal stands here."""
        self.needs(path, good=not isinstance(check(term, self.schema), Refusal))

    def selector_opts(self, path: str, value: Data) -> None:
        """The temperature and the count."""
        for key, each in self.table(path, value).items():
            checks = {"temp": ["sample", each], "k": ["top_k", each, ["argmax"]]}
            self.parameter(at(path, key), checks.get(key, []))

    def filter(self, path: str, value: Data) -> None:
        """A word, a list or a map of clauses (1.8)."""
        if isinstance(value, str):
            self.needs(path, good=value in SELF)
        elif isinstance(value, list):
            for place, each in self.list(path, value):
                self.filter(place, each)
        else:
            for key, each in self.table(path, value).items():
                self.clause(at(path, key), key, each)

    def clause(self, path: str, key: str, value: Data) -> None:
        """One clause, by its key."""
        if key in ("all_of", "any_of", "none_of"):
            for place, each in self.list(path, value):
                self.filter(place, each)
        elif key in SELF:
            self.needs(path, good=isinstance(value, bool))
        elif key == "is":
            self.parameter(path, ["is", value])
        elif key == "cmp":
            answer = check(["cmp", *(dense(value) or [])], self.schema, "Pred")
            if isinstance(answer, Refusal):
                self.paths.add(path + answer.path.removeprefix("$").removeprefix(".cmp"))
        elif key == "price_max":
            self.closed(path, value, dict.fromkeys(("input", "output"), lambda v: number(v) is not None))
        elif (noun := key.removesuffix("_in").removesuffix("_not")) in NAMED and key in CLAUSES:
            for place, each in self.list(path, value):
                self.parameter(place, [NAMED[noun], each])
        else:
            self.paths.add(path)

    def mutate(self, path: str, value: Data) -> None:
        """A word, a list or a map of steps (1.8)."""
        if isinstance(value, list):
            for place, each in self.list(path, value):
                self.mutate(place, each)
        elif value != "identity":
            for key, each in self.table(path, value).items():
                self.step(at(path, key), key, each)

    def step(self, path: str, key: str, value: Data) -> None:
        """One step of a `mutate` map, by its key."""
        if key == "pipe":
            self.mutate(path, value)
        elif key in ("filter_text", "filter_image", "custom"):
            self.parameter(path, [key, value])
        elif key in ("set_param", "jitter", "clamp"):
            for name, each in self.table(path, value).items():
                bounds = each if isinstance(each, list) else [0, each]
                rest = bounds if key == "clamp" else [each]
                self.parameter(at(path, name), [STEPS[key], name, *rest])
        else:
            self.needs(path, good=key == "identity")

    def defaults(self, path: str, value: Data) -> None:
        """Settings; the profile must be there."""
        own = self.closed(path, value, DEFAULTS)
        if "profile" in own:
            known = record(self.config.get("profiles"))
            self.needs(at(path, "profile"), good=_name_in(own["profile"], known))


STEPS = {"set_param": "set_param", "jitter": "jitter", "clamp": "clamp_param"}
CLAUSES = [f"{noun}_in" for noun in NAMED] + ["provider_not_in", "served_by_not_in"]


def _fits(spec: Data) -> Check:
    is_number = record(spec).get("sort") == "Num"
    return (lambda v: number(v) is not None) if is_number else _is_flag


def _name_in(name: Data, known: Config) -> bool:
    return isinstance(name, str) and name in known


def _leads_back(name: str, profiles: Config) -> bool:
    """Tell whether the parents of a profile come round to it."""
    seen, parent = [name], record(profiles[name]).get("extends")
    while isinstance(parent, str) and parent in profiles and parent not in seen:
        seen.append(parent)
        parent = record(profiles[parent]).get("extends")
    return bool(parent == name)
