"""Helpers beside the APIs, below `/x`: what would happen and why, and terms in normal form (spec 3.6).

None of them calls a provider or changes anything. Whoever may see how an answer came about may see
how one would: rankings, explanations and health need the right `metadata`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.core.language import Refusal
from llm_policy_host.run.explanation import explanation

from .approvals import decide, list_approvals, show_approval
from .errors import RefusedError, invalid
from .keys import check_may
from .sessions import change_session, open_session, show_session
from .skins.chat import Chat
from .sugar import hint
from .templates import TEMPLATES, find_template

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llm_policy_host.values import Contract, Plain

    from .gateway import Gateway
    from .host import GatewayHost
    from .skin import Asked

Body = dict[str, Any]


Helper = Callable[..., Awaitable[Body]]
"""Answers one path with `(gateway, body, asked)`; what the path's own places hold comes by name.

The body of a GET is empty; `RefusedError` says why there is no answer.
"""


# Who would serve ------------------------------------------------------------------------------------


async def rank(gateway: Gateway, body: Body, asked: Asked) -> Body:
    """Say who would serve a chat body, in order, and who was refused."""
    host, contract = _contract(gateway, body, asked, "/x/rank")
    ranking = host.rank(contract)
    _check(ranking.error, ranking.refusal)
    return {
        "ordered": [
            {
                "provider": entry.provider_id,
                "model_family": entry.model_family,
                "served_by": entry.served_by,
                "score": entry.score,
                "tier": entry.tier,
            }
            for entry in ranking.ordered
        ],
        "rejected": [
            {"provider": entry.provider_id, "model_family": entry.model_family, "reason": entry.reason}
            for entry in ranking.rejected
        ],
    }


async def explain(gateway: Gateway, body: Body, asked: Asked) -> Body:
    """Say who would serve a chat body, what each part of the score gave, and which clause refused whom."""
    host, contract = _contract(gateway, body, asked, "/x/explain")
    told = host.explain(contract)
    _check(told.get("error"), told.get("refusal"))
    return explanation(contract, told)


def _contract(gateway: Gateway, body: Body, asked: Asked, path: str) -> tuple[GatewayHost, Contract]:
    check_may(asked.caller, "metadata", f"`{path}`", path)
    body.setdefault("messages", [{"role": "user", "content": ""}])
    host = gateway.parts.current()
    contract = gateway.contract(Chat(), body, asked, host)
    if contract.flow_ir is not None:
        raise invalid("a flow has a ranking for each of its nodes: ask for their policies", "flow_ir")
    return host, contract


def _check(error: str | None, refusal: Mapping[str, Any] | None) -> None:
    if refusal:
        detail = f"the policy is refused: {refusal.get('detail') or refusal.get('code')}"
        raise RefusedError(400, str(refusal.get("code")), detail, refusal.get("path"))
    if error is not None:
        raise RefusedError(404, error, "no such profile", "model")


# Terms ----------------------------------------------------------------------------------------------


async def normalize_policy(gateway: Gateway, body: Body, asked: Asked) -> Body:
    """Give a term, or a profile's, in normal form with its identity."""
    host = gateway.parts.current()
    profile = body.get("profile")
    if profile is None:
        _check_keys(body, ("policy_ir",))
        return _identified(host, body.get("policy_ir"))
    _check_keys(body, ("profile",))
    told = _identified(host, _profile_term(gateway, host, profile, asked))
    return {**told, "runs_as": told["identity"]}


async def normalize_flow(gateway: Gateway, body: Body, asked: Asked) -> Body:
    """Give a flow in normal form with its identity."""
    del asked
    _check_keys(body, ("flow_ir",))
    host = gateway.parts.current()
    answer = host.language.identify_flow(body.get("flow_ir"), host.schema)
    if isinstance(answer, Refusal):
        raise RefusedError(400, answer.code, f"the flow is refused: {answer.detail}", answer.path)
    return {
        "term": answer.term,
        "encoding": answer.encoding,
        "identity": answer.identity,
        "fingerprint": answer.fingerprint,
        "order": [node.id for node in answer.nodes],
    }


def _profile_term(gateway: Gateway, host: GatewayHost, profile: Any, asked: Asked) -> Plain:  # noqa: ANN401 - as the caller wrote it
    if not isinstance(profile, str):
        raise invalid("must be a profile's name", "profile")
    named = dataclasses.replace(asked, model=f"profile:{profile}")
    term = host.engine.profile_term(gateway.parts.aim({}, named, Chat(), host)["profile"])
    if term is None:
        raise invalid(
            f"`{profile}` is a function of the operator's: it has no term", "profile", "local_policy"
        )
    return term


def _identified(host: GatewayHost, term: Plain) -> Body:
    answer = host.language.identify(term, host.schema)
    if isinstance(answer, Refusal):
        raise RefusedError(400, answer.code, f"the policy is refused: {answer.detail}", answer.path)
    told = {
        "sort": answer.sort,
        "term": answer.term,
        "encoding": answer.encoding,
        "identity": answer.identity,
        "fingerprint": answer.fingerprint,
        "words": answer.words,
    }
    if answer.sort == "Policy":
        # what a run under it reports: the operator's envelope is part of the policy then
        told["runs_as"] = host.engine.admit(term)
    return told


def _check_keys(body: Body, known: Sequence[str]) -> None:
    for key in body:
        if key not in known:
            raise invalid(f"unknown key `{key[:256]}`{hint(key[:256], known)}", key[:256])


# Templates ------------------------------------------------------------------------------------------


async def list_templates(gateway: Gateway, body: Body, asked: Asked) -> Body:
    """List the policies to start from, with their parameters."""
    del gateway, body, asked
    return {"data": [template.described() for template in TEMPLATES.values()]}


async def compile_template(gateway: Gateway, body: Body, asked: Asked, template: str) -> Body:
    """Compile a template; the body holds its parameters."""
    del asked
    return _identified(gateway.parts.current(), find_template(template).compile(body))


# What there is --------------------------------------------------------------------------------------


async def fields(gateway: Gateway, body: Body, asked: Asked) -> Body:
    """Give the live vocabulary: everything that a policy may name here."""
    del body
    host = gateway.parts.current()
    told, catalog = host.language.vocabulary(host.schema), host.catalog
    allowed = None if asked.caller is None else asked.caller.profiles
    return {
        "fields": {name: dict(told.fields[name]) for name in sorted(told.fields)},
        "params": list(told.params),
        "tiers": list(told.tiers),
        "families": sorted(catalog.get("models") or ()),
        "providers": sorted(catalog.get("providers") or ()),
        "capabilities": _capabilities(catalog),
        "profiles": [
            name for name in sorted(catalog.get("profiles") or ()) if allowed is None or name in allowed
        ],
        "customs": list(host.schema.get("customs", ())),
    }


def _capabilities(catalog: Mapping[str, Any]) -> list[str]:
    found: set[str] = set()
    for model in (catalog.get("models") or {}).values():
        found.update(model.get("capabilities") or ())
        for route in model.get("served_by") or ():
            found.update(route.get("capabilities") or ())
    return sorted(found)


async def health(gateway: Gateway, body: Body, asked: Asked) -> Body:
    """Say who can be called now, and until when who cannot."""
    del body
    check_may(asked.caller, "metadata", "`/x/health/routes`", "/x/health/routes")
    host = gateway.parts.current()
    now_ms, shut, status = host.clock.now_ms(), host.open_until_ms(), host.status()["providers"]
    lanes = host.lanes().counts()
    known = [(entry["provider_id"], entry["model_family"]) for entry in host.engine.candidates]
    without = sorted(set(status) - {name for name, _ in known})  # a marketplace's, as long as nobody offers
    routes = []
    for name, family in [*known, *((name, None) for name in without)]:
        until_ms = max(shut.get(name, 0), shut.get(f"{name}|{family}", 0))
        is_usable = name not in host.disabled
        routes.append(
            {
                "provider": name,
                "model_family": family,
                "available": is_usable and until_ms <= now_ms,
                "disabled": not is_usable or bool(status[name]["disabled"]),
                "consecutive_failures": status[name]["breaker"]["consecutive_failures"],
                "recovers_in_ms": round(until_ms - now_ms) if until_ms > now_ms else None,
                "in_flight": lanes.get(name, (0, 0))[0],
                "queued": lanes.get(name, (0, 0))[1],
            }
        )
    return {"now_ms": now_ms, "routes": routes}


HELPERS: Final[Sequence[tuple[str, str, Helper]]] = (
    ("POST", "/x/rank", rank),
    ("POST", "/x/explain", explain),
    ("POST", "/x/policy/normalize", normalize_policy),
    ("POST", "/x/flow/normalize", normalize_flow),
    ("GET", "/x/policy/templates", list_templates),
    ("POST", "/x/policy/templates/{template}", compile_template),
    ("GET", "/x/fields", fields),
    ("GET", "/x/health/routes", health),
    ("GET", "/x/approvals", list_approvals),
    ("GET", "/x/approvals/{approval}", show_approval),
    ("POST", "/x/approvals/{approval}", decide),
    ("POST", "/x/sessions", open_session),
    ("GET", "/x/sessions/{session}", show_session),
    ("POST", "/x/sessions/{session}", change_session),
)
"""Every helper: method, path, who answers."""
