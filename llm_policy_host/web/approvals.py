"""What waits for a person, over HTTP: its state for who asked, a decision by who may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.errors import LedgerError
from llm_policy_host.ledger.amounts import usd_of
from llm_policy_host.ledger.approvals import WAITING, decided
from llm_policy_host.ledger.sessions import is_session_name
from llm_policy_host.run.parking import refusal_of

from .errors import RefusedError, invalid
from .keys import check_may
from .till import SESSION_HEADER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llm_policy_host.ledger.approvals import Asking
    from llm_policy_host.ledger.event import Draft
    from llm_policy_host.values import Approval

    from .gateway import Gateway
    from .skin import Asked, Caller
    from .till import Till

    Body = dict[str, Any]

PATH: Final = "/x/approvals/"
HEADER: Final = b"x-llm-policy-approval"
DECISIONS: Final = ("approve", "redirect", "deny")

_RIGHT: Final = "approve"
_REFUSED: Final = {
    "lineage": ("approval_decided", "this was decided already"),
    "expired": ("approval_expired", "its time to be decided is over"),
}


def waiting_body(approval: Approval) -> Body:
    """Tell a caller that his request waits, and how he gets its answer."""
    return {
        "object": "approval",
        "id": approval.id,
        "run_id": approval.run_id,
        "state": WAITING,
        "gate": approval.gate,
        "reason": approval.reason,
        "expires_at_ms": approval.until_ms,
        "status_url": PATH + approval.id,
    }


async def list_approvals(gateway: Gateway, body: Body, asked: Asked) -> Body:
    """Give what waits for this approver, the oldest first."""
    del body
    till = await need_till(gateway)
    _check(asked.caller)
    found = [asking for asking in till.folds.approvals.waiting() if _may_decide(asked.caller, asking, till)]
    return {"object": "list", "data": [told(asking) for asking in found]}


async def show_approval(gateway: Gateway, body: Body, asked: Asked, approval: str) -> Body:
    """Give the state of what a caller asked for, or may decide on."""
    del body
    till = await need_till(gateway)
    return told(_find(till, asked.caller, approval))


async def decide(gateway: Gateway, body: Body, asked: Asked, approval: str) -> Body:
    """Approve, redirect or deny: `{decision, target?}`."""
    till = await need_till(gateway)
    _check(asked.caller)
    asking = _find(till, asked.caller, approval)
    decision, target = body.get("decision"), body.get("target")
    if decision not in DECISIONS:
        raise invalid(f"must be one of {', '.join(DECISIONS)}", "decision")
    if not _may_decide(asked.caller, asking, till):
        raise RefusedError(404, "approval_unknown", "no such approval", "approval")
    name, session = asked.caller.name if asked.caller else None, session_of(asked.headers)
    if asking.is_of(name, session):
        raise RefusedError(403, "own_request", "nobody decides on his own request", "approval")
    if (decision == "redirect") != (target is not None):
        raise invalid(
            "names the route, `provider|family`, that a redirect goes to, and nothing else", "target"
        )
    if target is not None:
        _check_target(gateway, till, asking, target)
    await write_drafts(
        till, decided(asking, decision, "keyholder", target=target, key_id=name, session=session)
    )
    found = till.folds.approvals.find(approval)
    return told(found or asking)


def _check_target(gateway: Gateway, till: Till, asking: Asking, target: Any) -> None:  # noqa: ANN401 - of a body
    if not isinstance(target, str):
        raise invalid("must be a text", "target")
    host, data = gateway.parts.current(), till.log.store.blob_get(asking.parked or "")
    code = refusal_of(host.engine, data, target, host.clock.now_ms())
    if code is not None:
        raise RefusedError(422, code, "the policy does not list this route for the request", "target")


async def write_drafts(till: Till, drafts: Sequence[Draft]) -> None:
    """Write events outside of any run of this process, until one is refused."""
    ledger = till.ledger
    try:
        if ledger.log.is_shared:
            # several processes take turns by the store's own lock
            for draft in drafts:
                await ledger.log.accept(draft)
        else:
            # INVARIANT: its holder awaits nothing: who else asks for the lock on this loop stops the loop
            with ledger.lock:
                for draft in drafts:
                    ledger.log.append(draft)
    except LedgerError as error:
        if error.code not in _REFUSED:
            raise
        code, words = _REFUSED[error.code]
        raise RefusedError(409, code, words, "approval") from None


async def need_till(gateway: Gateway) -> Till:
    """Give the till, which knows what other processes wrote too."""
    till = gateway.parts.till
    if till is None:
        raise RefusedError(404, "no_ledger", "nothing waits here: this gateway has no ledger")
    await till.refresh(0)
    return till


def _check(caller: Caller | None) -> None:
    check_may(caller, _RIGHT, "`/x/approvals`", "/x/approvals")


def _find(till: Till, caller: Caller | None, approval: str) -> Asking:
    """Give an approval to who asked for it or may decide on it; to anybody else there is none."""
    found = till.folds.approvals.find(approval)
    if found is not None:
        is_his = caller is not None and (caller.name or None) == found.key_id
        if is_his or _may_decide(caller, found, till):
            return found
    raise RefusedError(404, "approval_unknown", "no such approval", "approval")


def _may_decide(caller: Caller | None, asking: Asking, till: Till) -> bool:
    """Whether a caller has the right, for this tenant: a key with an account decides below its root alone."""
    if caller is None or _RIGHT not in caller.may:
        return False
    granted = caller.granted
    return granted is None or granted.account is None or till.purse(caller).tenant == asking.tenant


def told(asking: Asking) -> Body:
    """Give what may be known of it: no word of its request."""
    return {
        "object": "approval",
        "id": asking.id,
        "run_id": asking.run,
        "state": asking.state,
        "gate": asking.gate,
        "reason": asking.reason,
        "target": asking.target,
        "redirected_to": asking.redirected,
        "attempt": asking.attempt,
        "estimate_usd": None if asking.estimate_micro is None else usd_of(asking.estimate_micro),
        "asked_at_ms": asking.asked_ms,
        "expires_at_ms": asking.until_ms,
    }


def session_of(headers: Mapping[bytes, bytes]) -> str | None:
    """Read the name of a request's session."""
    given = headers.get(SESSION_HEADER.encode())
    if given is None:
        return None
    name = given.decode("latin-1")
    if not is_session_name(name):
        raise invalid("is no name of a session", SESSION_HEADER)
    return name


def approval_of(headers: Mapping[bytes, bytes]) -> str | None:
    """Read the approval with which a request is asked again."""
    given = headers.get(HEADER)
    return None if given is None else given.decode("latin-1")
