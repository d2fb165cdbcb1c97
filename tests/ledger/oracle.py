"""The rules of lineage once more, naively: the whole history is looked at for each event (spec 5.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llm_policy_host.ledger.event import Draft

AFTER = {
    "RequestReceived": {"RequestRejected", "PolicyAdmitted"},
    "PolicyAdmitted": {"ApprovalRequested", "AttemptProposed", "RunCompleted", "RunFailed", "RunCancelled"},
    "ApprovalRequested": {"ApprovalDecided", "RunFailed", "RunCancelled"},
    "ApprovalDecided": {"ApprovalRequested", "AttemptProposed", "RunFailed", "RunCancelled"},
    "AttemptProposed": {"AttemptOutcome"},
    "AttemptOutcome": {
        "WaitScheduled",
        "ApprovalRequested",
        "AttemptProposed",
        "RunCompleted",
        "RunFailed",
        "RunCancelled",
    },
    "WaitScheduled": {"ApprovalRequested", "AttemptProposed", "RunFailed", "RunCancelled"},
    "RequestRejected": set(),
    "RunCompleted": set(),
    "RunFailed": set(),
    "RunCancelled": set(),
}
SUBJECTS = {
    "AccountOpened": ("account", "+"),
    "AccountAdjusted": ("account", ""),
    "KeyMinted": ("key_id", "+"),
    "KeyRevoked": ("key_id", "-"),
    "SessionOpened": ("session", "+"),
    "ModeChanged": ("session", ""),
    "SessionClosed": ("session", "-"),
}
ENDS = ("RequestRejected", "RunCompleted", "RunFailed", "RunCancelled")


def may_follow(history: list[Draft], event: Draft) -> bool:  # noqa: C901, PLR0911 - a rule, a return
    """Whether an event may come after these, of which each was numbered from 1 and had its cause filled in."""
    if event.type == "RequestReceived":
        return may_start(history, event)
    if event.type not in AFTER:
        return may_stand_alone(history, event)
    mine = [each for each in history if each.run == event.run]
    if not mine or event.run is None or event.type not in AFTER[mine[-1].type]:
        return False
    if (event.tenant, event.parent, event.idem) != (mine[0].tenant, mine[0].parent, None):
        return False
    if event.cause is not None and history[event.cause - 1 : event.cause] != mine[-1:]:
        return False
    proposed = sum(each.type == "AttemptProposed" for each in mine)
    core = event.core
    is_flow = mine[0].core.get("is_flow") is True
    if event.type in ("AttemptProposed", "ApprovalRequested"):
        may_ask = not is_flow and (event.type == "AttemptProposed" or event.parent is None)
        return bool(core["attempt"] == proposed + 1 and may_ask)
    if event.type == "AttemptOutcome":
        return bool(core["attempt"] == proposed)
    if event.type == "ApprovalDecided":
        return bool(core["approval"] == mine[-1].core["approval"])
    if has_open_parts(history, event.run):
        return event.type == "PolicyAdmitted"
    if event.type == "RunCompleted":
        has_answer = mine[-1].type == "AttemptOutcome" and mine[-1].core.get("kind") is None
        is_done_flow = mine[-1].type == "PolicyAdmitted" and is_flow
        return core["attempts"] == proposed and (has_answer or is_done_flow)
    return event.type not in ("RunFailed", "RunCancelled") or core["attempts"] == proposed


def has_open_parts(history: list[Draft], flow: str) -> bool:
    """Whether a run began as a part of a flow, and has not ended."""
    ended = {each.run for each in history if each.type in ENDS}
    return any(each.parent == flow and each.run not in ended for each in history)


def may_start(history: list[Draft], event: Draft) -> bool:
    """Whether a run may begin."""
    if event.run is None or any(each.run == event.run for each in history):
        return False
    if event.idem is not None and any(
        (each.tenant, each.idem) == (event.tenant, event.idem) for each in history
    ):
        return False
    if event.parent is not None:
        flow = [each for each in history if each.run == event.parent]
        if [each.type for each in flow] != ["RequestReceived", "PolicyAdmitted"]:
            return False
        if flow[0].core.get("is_flow") is not True or flow[0].tenant != event.tenant:
            return False
        if event.cause is not None and history[event.cause - 1 : event.cause] != flow[-1:]:
            return False
    session = event.core.get("session")
    return has_cause(history, event) and (session is None or is_open(history, "session", session))


def may_stand_alone(history: list[Draft], event: Draft) -> bool:
    """Whether an event outside of runs may come."""
    if event.run is not None or event.parent is not None or event.idem is not None:
        return False
    key, deed = SUBJECTS.get(event.type, (None, ""))
    if key is None:
        return has_cause(history, event)
    name = event.core[key]
    if deed == "+":
        above = event.core.get("parent")
        is_rooted = above is None or is_open(history, "account", above)
        return has_cause(history, event) and is_rooted and not any(opens(each, key, name) for each in history)
    return has_cause(history, event) and is_open(history, key, name)


def opens(event: Draft, key: str, name: object) -> bool:
    """Whether an event opens a subject."""
    return SUBJECTS.get(event.type) == (key, "+") and event.core[key] == name


def is_open(history: list[Draft], key: str, name: object) -> bool:
    """Whether a subject was opened, and not closed since."""
    closes = [each for each in history if SUBJECTS.get(each.type) == (key, "-") and each.core[key] == name]
    return any(opens(each, key, name) for each in history) and not closes


def has_cause(history: list[Draft], event: Draft) -> bool:
    """Whether an event's cause is an earlier one, or none."""
    return event.cause is None or 1 <= event.cause <= len(history)


def filled(history: list[Draft], event: Draft) -> Draft:
    """Give an accepted event the cause that the log says where its emitter did not."""
    if event.cause is not None or event.type not in AFTER:
        return event
    of = event.parent if event.type == "RequestReceived" else event.run
    earlier = [seq for seq, each in enumerate(history, 1) if each.run == of and of is not None]
    return event._replace(cause=max(earlier, default=None))
