"""What each key means, in words: what code cannot say of itself. A key without words is a mistake."""

from __future__ import annotations

CONFIG = {
    "providers": "who can be called, by name",
    "models": "what can be asked for, by family, and who serves it",
    "profiles": "policies by name, in the sugar below or as terms",
    "retry_policies": "failure plans by name: failure kind to action",
    "fields": "what policies may observe of a candidate besides the core's fields",
    "params": "what policies may set besides the core's parameters",
    "tier_order": "the tiers, lowest first (default `fallback`, `marketplace`, `partner`)",
    "policy_envelope": "a filter, and-ed to that of every policy",
    "customs": "transforms by name; Lua configs only",
    "defaults": "numbers of the engine, and the profile of contracts that name none",
    "runtime": "the Lua that decides (default: the fastest that `llm-policy doctor` lists)",
    "host": "the host's own settings",
}

PROVIDER = {
    "discovery": "whether its routes stand under `models`, or come as offers (default `static`)",
    "base_url": (
        "where its API is; may be absent of `ollama`, `bedrock`, `openai_codex`, `scripted` and a marketplace"
    ),
    "discovery_id": "whose offers are its own; wanted of a marketplace",
    "api_kind": "its dialect (default `openai_compatible`)",
    "auth": "where its secret comes from: `{kind: none}`, or [one of these](#secrets)",
    "auth_env": "short for a bearer from this environment variable",
    "tier": "its tier (default `fallback`)",
    "scope": "only requests of this scope, for policies with `scope_matches`",
    "has_tee": "whether it computes in a trusted execution environment",
    "no_log": "whether it keeps no log",
    "region": "where it is; of `bedrock` where there is no `aws_region`",
    "aws_region": "which region of `bedrock` is called, and signed for",
    "source": "which price multiplier is its own, before its name's",
    "notes": "for people",
}

MODEL = {
    "served_by": "its routes",
    "capabilities": "what it can do, on every route",
    "notes": "for people",
}

SERVED_BY = {
    "provider": "who",
    "provider_model_id": "the model's name on the wire (default: the family)",
    "price_in": "USD per million tokens in; absent is unknown, not 0",
    "price_out": "USD per million tokens out; absent is unknown, not 0",
    "latency_ms": "an observation to start with",
    "tok_s": "an observation to start with: tokens per second",
    "success_rate": "an observation to start with: 0 to 1",
    "scope": "in place of the provider's",
    "has_tee": "in place of the provider's",
    "no_log": "in place of the provider's",
    "tier": "in place of the provider's",
    "source": "in place of the provider's",
    "capabilities": "over the model's, key by key",
}

CAPABILITIES = {
    "context": "tokens",
    "supports_tools": "whether it can be given tools",
    "supports_vision": "whether it reads images",
    "supports_json_mode": "whether it answers in JSON on request",
    "supports_seed": "whether it takes a seed",
}

FIELD = {
    "sort": "what its values are",
    "default": "what is seen where a candidate has none (absent: for a number absent-high, else false)",
}

DEFAULTS = {
    "profile": "of a contract that names neither a profile nor a policy (absent: `default`, or the only one)",
    "timeout_ms": "how long an attempt may take",
    "circuit_breaker_threshold": "faults in a row that open a breaker",
    "circuit_breaker_failure_ms": "how long it stays open",
    "circuit_breaker_rate_limit_ms": "how long after a rate limit",
    "disable_provider_ttl_ms": "how long `disable_provider` lasts",
}

PROFILE = {
    "extends": "another profile, whose keys stand under these; records are merged one level",
    "filter": "a word, a list (all of it), a record (all of it), or a Pred term",
    "scorer": "a Scorer term; what has an open breaker scores 0",
    "selector": "a word, or a Selector term",
    "selector_opts": "`temp` of `sample` (default 1), `k` of `top_k` (default 3)",
    "chain": "`[{provider, model}]` of the selector `chain`; a contract's own goes before it",
    "mutate": "`identity`, a list (one after the other), a record, or an Xform term",
    "retry_policy": "a name under `retry_policies`, or a FailPlan term",
    "policy_ir": "a whole policy as a term, in place of all the others; or the `.lua` or `.json` file of one",
}

FILTER = {
    "requirements": "`[meets_req]`",
    "not_disabled": "`[not, [is, disabled]]`",
    "breaker_closed": "`[not, [is, breaker_open]]`",
    "scope_matches": "`[scope_matches]`",
    "all_of": "a list of filters: all hold",
    "any_of": "a list of filters: some holds",
    "none_of": "a list of filters: none holds",
    "tier_in": "a list of tiers",
    "family_in": "a list of model families",
    "provider_in": "a list of providers",
    "provider_not_in": "a list of providers",
    "served_by_in": "a list of peers",
    "served_by_not_in": "a list of peers",
    "price_max": "`{input?, output?}`, USD per million tokens",
    "cmp": "`[field, relation, number]`",
    "is": "a flag",
}

MUTATE = {
    "identity": "nothing changes",
    "pipe": "a list of changes, one after the other",
    "set_param": "parameter to value; the value `from_ctx` is the call's seed",
    "clamp": "parameter to `[low, high]`, or to the highest alone, then at least 0",
    "jitter": "parameter to how far a seeded amount may move it",
    "filter_text": "text filters for the host",
    "filter_image": "image filters for the host",
    "custom": "a transform under `customs`",
}

ACTION = {
    "action": "one of the words above",
    "then_action": "what follows when `retry_same` has used its attempts (default `next_candidate`)",
    "attempts": "further calls of `retry_same` (default 1)",
    "backoff_ms": "the wait before each of them: a number, or a list whose last entry repeats",
    "open_breaker_ms": "opens the breaker at once, for exactly that long",
}

NOUNS = {
    "config key": CONFIG,
    "provider key": PROVIDER,
    "model key": MODEL,
    "served_by key": SERVED_BY,
    "capability": CAPABILITIES,
    "field key": FIELD,
    "default": DEFAULTS,
    "profile key": PROFILE,
    "filter": FILTER,
    "change": MUTATE,
    "action key": ACTION,
}
"""The same by what the core calls such a key."""
