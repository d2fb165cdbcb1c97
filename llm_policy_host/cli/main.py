"""The command line's entry: finds the subcommand, and turns its end into an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from llm_policy_host.errors import ConfigError, HostError

from . import (
    accounts,
    approvals,
    backtest,
    batch,
    bench,
    check,
    commit,
    conform,
    content,
    demo,
    diff,
    diversify,
    doctor,
    explain,
    flow,
    fmt,
    hash_,
    implies,
    import_,
    init,
    keys,
    ledger,
    lsp,
    new_policy,
    prices,
    providers,
    rank,
    redecide,
    run,
    schema,
    serve,
    sessions,
    simulate,
    test_,
    validators,
    verify_decision,
    why,
)
from .output import FAILED, OK, REFUSED, USAGE, print_json
from .subjects import RefusedTermError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = (
    demo,
    init,
    new_policy,
    serve,
    check,
    run,
    batch,
    flow,
    rank,
    why,
    test_,
    hash_,
    explain,
    fmt,
    schema,
    lsp,
    diff,
    implies,
    import_,
    commit,
    verify_decision,
    simulate,
    redecide,
    backtest,
    diversify,
    validators,
    keys,
    accounts,
    approvals,
    sessions,
    providers,
    prices,
    ledger,
    content,
    doctor,
    conform,
    bench,
)
"""Each a module with `add(commands)`, which sets `do(arguments) -> exit code` on its parser."""

_EPILOG = "exit codes: 0 ok, 1 failed, 2 usage, 3 waiting for a person, 4 refused by policy or budget"


def parser() -> argparse.ArgumentParser:
    """Build the parser of all subcommands."""
    whole = argparse.ArgumentParser(
        prog="llm-policy", description="Policies that choose which model answers a call.", epilog=_EPILOG
    )
    commands = whole.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(commands)
    return whole


def main(given: Sequence[str] | None = None) -> int:
    """Run a command line; give its exit code."""
    arguments = _parse(given)
    try:
        code: int = arguments.do(arguments)
        sys.stdout.flush()
    except ConfigError as error:
        return _complain_of_config(error, as_json=arguments.json)
    except RefusedTermError as error:
        _complain(str(error), as_json=arguments.json)
        return REFUSED
    except HostError as error:
        return _complain(str(error), as_json=arguments.json)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # the reader has seen enough (`| head -1`): no failure; closing stdout must stay silent
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    return code


def _parse(given: Sequence[str] | None) -> argparse.Namespace:
    """Parse, allowing `run CONFIG --option … PROMPT`: argparse takes an optional word only early."""
    whole = parser()
    arguments, rest = whole.parse_known_args(given)
    may_come_late = getattr(arguments, "prompt", "") is None
    if may_come_late and len(rest) == 1 and (rest[0] == "-" or not rest[0].startswith("-")):
        arguments.prompt = rest[0]
    elif rest:
        whole.error(f"unrecognized arguments: {' '.join(rest)}")
    return arguments


def _complain_of_config(error: ConfigError, *, as_json: bool) -> int:
    if as_json:
        print_json(
            {"ok": False, "error": "config", "problems": [problem.as_data() for problem in error.problems]}
        )
    else:
        count = len(error.problems)
        for problem in error.problems:
            print(problem, file=sys.stderr)
        print(f"{count} mistake{'s' if count != 1 else ''} in the config", file=sys.stderr)
    return FAILED


def _complain(text: str, *, as_json: bool) -> int:
    if as_json:
        print_json({"ok": False, "error": text})
    else:
        print(f"llm-policy: {text}", file=sys.stderr)
    return USAGE


if __name__ == "__main__":
    sys.exit(main())
