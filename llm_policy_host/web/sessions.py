"""Sessions over HTTP: opened by keys with the right, for themselves; closed by who opened them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.ledger.amounts import micro_usd, usd_of
from llm_policy_host.ledger.event import Draft
from llm_policy_host.ledger.sessions import MODES, new_session, opening

from .approvals import need_till, write_drafts
from .errors import RefusedError, invalid
from .keys import check_may

if TYPE_CHECKING:
    from llm_policy_host.ledger.sessions import Session

    from .gateway import Gateway
    from .skin import Asked, Caller
    from .till import Till

    Body = dict[str, Any]

_RIGHT: Final = "session"
_MOST_USD: Final = 1_000_000_000
_KEYS: Final = frozenset({"mode", "max_turns", "max_usd"})


async def open_session(gateway: Gateway, body: Body, asked: Asked) -> Body:
    """Open a session that this key alone may use: `{mode?, max_turns?, max_usd?}`."""
    till = await need_till(gateway)
    caller = _check(asked.caller)
    for name in body:
        if name not in _KEYS:
            raise invalid("no such limit of a session", name)
    origin = await till.origin(caller, "sessions")
    account = origin.accounts[0] if origin.accounts else None
    name = new_session()
    drafts = opening(
        name,
        "gateway",
        origin.tenant or "local",
        account=account,
        key_id=origin.key_id,
        mode=_mode(body.get("mode", "work")),
        max_turns=_turns(body.get("max_turns")),
        max_usd_micro=_usd_micro(body.get("max_usd")),
    )
    await write_drafts(till, drafts)
    return _told(_find(till, caller, name))


async def change_session(gateway: Gateway, body: Body, asked: Asked, session: str) -> Body:
    """Change a session's mode, or close it: `{mode}` or `{closed: true}`."""
    till = await need_till(gateway)
    caller = _check(asked.caller)
    found = _find(till, caller, session)
    is_close = body.get("closed") is True
    if found.closed is not None:
        raise RefusedError(404, "unknown_session", "no such session of yours is open", "session")
    if is_close == ("mode" in body):
        raise invalid("either `mode` or `closed: true`", "mode")
    tenant = till.purse(caller).tenant
    if is_close:
        draft = Draft("SessionClosed", "gateway", tenant, core={"session": session, "why": "closed"})
    else:
        mode = _mode(body["mode"])
        if mode == "work" and found.mode == "steward":
            raise RefusedError(
                403, "not_allowed", "an operator alone takes a steward's session back to work", "mode"
            )
        draft = Draft("ModeChanged", "gateway", tenant, core={"session": session, "mode": mode})
    await write_drafts(till, [draft])
    return _told(found)


async def show_session(gateway: Gateway, body: Body, asked: Asked, session: str) -> Body:
    """Give a session's mode, its turns and its limits."""
    del body
    till = await need_till(gateway)
    return _told(_find(till, asked.caller, session))


def _check(caller: Caller | None) -> Caller:
    check_may(caller, _RIGHT, "`/x/sessions`", "/x/sessions")
    if caller is None or not caller.name:
        raise RefusedError(403, "not_allowed", "a session is opened with a key", "/x/sessions")
    return caller


def _find(till: Till, caller: Caller | None, name: str) -> Session:
    found = till.folds.sessions.find(name)
    if found is None or caller is None or found.key_id is None or found.key_id != caller.name:
        raise RefusedError(404, "unknown_session", "no such session of yours", "session")
    return found


def _mode(value: Any) -> str:  # noqa: ANN401 - of a body
    if value not in MODES:
        raise invalid(f"must be one of {', '.join(MODES)}", "mode")
    return str(value)


def _turns(value: Any) -> int | None:  # noqa: ANN401 - of a body
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST_USD:
        raise invalid("must be a whole number of at least 0", "max_turns")
    return value


def _usd_micro(value: Any) -> int | None:  # noqa: ANN401 - of a body
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= _MOST_USD:
        raise invalid("must be an amount of USD", "max_usd")
    return micro_usd(value)


def _told(session: Session) -> Body:
    return {
        "object": "session",
        "id": session.name,
        "mode": session.mode,
        "turns": session.turns,
        "max_turns": session.max_turns,
        "max_usd": None if session.max_usd_micro is None else usd_of(session.max_usd_micro),
        "closed": session.closed is not None,
    }
