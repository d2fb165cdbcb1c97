"""`llm-policy sessions`: opens sessions with limits, changes their mode, closes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_policy_host.clock import SystemClock
from llm_policy_host.config.names import nearest
from llm_policy_host.errors import UsageError
from llm_policy_host.ledger.amounts import usd_text
from llm_policy_host.ledger.event import Draft
from llm_policy_host.ledger.sessions import MODES, is_session_name, new_session, opening

from .books import add_config, add_source, check_account, counted, read_config, write, writing
from .caveat_options import count, usd
from .output import OK, add_json, plain, print_json, table

if TYPE_CHECKING:
    import argparse

    from llm_policy_host.bookkeeping import Ledger
    from llm_policy_host.ledger.sessions import Session

    from .output import Commands


def add(commands: Commands) -> None:
    """Add the subcommand and those below it."""
    parser = commands.add_parser("sessions", help="open sessions with limits, change their mode, close them")
    below = parser.add_subparsers(metavar="COMMAND", required=True)
    opened = below.add_parser("open", help="open a session, and print its name")
    opened.add_argument(
        "session", nargs="?", metavar="NAME", help="its name (default: one that nobody guesses)"
    )
    opened.add_argument(
        "--key", metavar="ID", help="the one key that may use it (default: whoever knows its name)"
    )
    opened.add_argument(
        "--account", metavar="NAME", help="who pays (default: the key's account, else the ledger's)"
    )
    opened.add_argument(
        "--mode", choices=MODES, default="work", metavar="MODE", help="`work` (default) or `steward`"
    )
    opened.add_argument("--max-turns", type=count, metavar="N", help="the most requests")
    opened.add_argument("--max-usd", type=usd, metavar="AMOUNT", help="the most that it may spend")
    moded = below.add_parser("mode", help="change its mode: as a steward it asks before each call with tools")
    moded.add_argument("session", metavar="NAME", help="its name")
    moded.add_argument("mode", choices=MODES, metavar="MODE", help="`work` or `steward`")
    closed = below.add_parser("close", help="close it: it takes no more requests")
    closed.add_argument("session", metavar="NAME", help="its name")
    listed = below.add_parser("list", help="the sessions, their turns and their limits")
    for one, do in ((opened, _open), (moded, _mode), (closed, _close)):
        add_config(one)
        add_json(one)
        one.set_defaults(do=do)
    add_source(listed)
    add_json(listed)
    listed.set_defaults(do=_list)


def _open(arguments: argparse.Namespace) -> int:
    config = read_config(arguments.config)
    name = arguments.session or new_session()
    if not is_session_name(name):
        raise UsageError(f"`{name}` is no name of a session: 1 to 64 letters, digits, `.`, `_` and `-`")
    with writing(config, SystemClock()) as ledger:
        if ledger.folds.sessions.find(name) is not None:
            raise UsageError(f"there is a session `{name}` already")
        account, folds = arguments.account, ledger.folds
        if arguments.key is not None:
            key = folds.ring.find(arguments.key)
            if key is None:
                raise UsageError(f"no key `{arguments.key}` was minted here")
            account = account or key.account
        account = account or config.settings.ledger.get("account")
        if account is not None:
            check_account(folds, account)
        tenant = "local" if account is None else folds.accounts.path(account)[-1]
        limits = {"max_turns": arguments.max_turns, "max_usd_micro": arguments.max_usd}
        drafts = opening(
            name, "operator", tenant, account=account, key_id=arguments.key, mode=arguments.mode, **limits
        )
        for draft in drafts:
            write(ledger, draft)
    return _print(arguments, ledger, name, name)


def _mode(arguments: argparse.Namespace) -> int:
    with writing(read_config(arguments.config), SystemClock()) as ledger:
        _find(ledger, arguments.session)
        core = {"session": arguments.session, "mode": arguments.mode}
        write(ledger, Draft("ModeChanged", "operator", "local", core=core))
    return _print(arguments, ledger, arguments.session, f"{arguments.session} is in mode {arguments.mode}")


def _close(arguments: argparse.Namespace) -> int:
    with writing(read_config(arguments.config), SystemClock()) as ledger:
        _find(ledger, arguments.session)
        core = {"session": arguments.session, "why": "closed"}
        write(ledger, Draft("SessionClosed", "operator", "local", core=core))
    return _print(arguments, ledger, arguments.session, f"{arguments.session} is closed")


def _find(ledger: Ledger, name: str) -> Session:
    sessions = ledger.folds.sessions
    found = sessions.find(name)
    if found is None or found.closed is not None:
        near = nearest(name, [each.name for each in sessions.all() if each.closed is None])
        raise UsageError(f"no session `{name}` is open" + (f" (did you mean `{near}`?)" if near else ""))
    return found


def _print(arguments: argparse.Namespace, ledger: Ledger, name: str, said: str) -> int:
    if arguments.json:
        print_json({"ok": True, "session": plain(ledger.folds.sessions.find(name))})
    else:
        print(said)
    return OK


def _list(arguments: argparse.Namespace) -> int:
    found = counted(arguments).sessions.all()
    if arguments.json:
        print_json({"ok": True, "sessions": [plain(session) for session in found]})
        return OK
    for line in table([_cells(session) for session in found]):
        print(line)
    return OK


def _cells(session: Session) -> tuple[str, ...]:
    turns = f"{session.turns} of {session.max_turns}" if session.max_turns is not None else str(session.turns)
    limit = "-" if session.max_usd_micro is None else f"{usd_text(session.max_usd_micro)} USD"
    who = session.key_id or session.account or "-"
    return (session.name, session.mode, f"{turns} turns", limit, who, session.closed or "open")
