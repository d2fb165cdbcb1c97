"""`llm-policy batch`: many contracts under one envelope, some at a time; what is done is done once."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_policy_host.config.policy_files import read_policy_file
from llm_policy_host.core.language import Refusal
from llm_policy_host.errors import LedgerError, UsageError
from llm_policy_host.ledger.chain import read
from llm_policy_host.ledger.kept import ANSWER, read_answer
from llm_policy_host.ledger.pasts import past_runs

from . import reels
from .books import add_config, check_account
from .commit import profile_name
from .contracts import add_options, contract, contract_of_line
from .journal import Journal, keys_of
from .output import FAILED, OK, add_json, print_json
from .progress import Progress
from .run import as_data, read_lines
from .subjects import RefusedTermError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping, Sequence

    from llm_policy_host.ledger.pasts import PastRun
    from llm_policy_host.values import Contract, Plain
    from llm_policy_host.wiring import Host

    from .output import Commands

_AT_ONCE = 4
_ABOUT = ("profile", "policy_ir", "params", "requirements", "seed")
"""What the options say of every contract, and makes it another one."""


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("batch", help="answer many contracts, each once, however often it is begun")
    parser.add_argument(
        "contracts", metavar="CONTRACTS", help="JSON lines: a text, or a record like {prompt, profile, …}"
    )
    add_config(parser)
    parser.add_argument(
        "-o", "--output", metavar="OUT", help="where the results go (CONTRACTS with `.results.jsonl`)"
    )
    parser.add_argument("--concurrency", type=int, default=_AT_ONCE, metavar="N", help="calls at once (4)")
    parser.add_argument(
        "--envelope", metavar="FILE", help="a predicate, as JSON or in Lua, that every candidate must meet"
    )
    parser.add_argument("--account", metavar="NAME", help="the account that pays for all")
    add_options(parser)
    parser.add_argument("--now-ms", type=int, metavar="MS", help="begin then, and wait for nothing")
    add_json(parser)
    parser.set_defaults(do=do, record=None, replay=None)


def do(arguments: argparse.Namespace) -> int:
    """Answer what is not answered yet."""
    lines = read_lines(arguments.contracts)
    base, envelope = contract(arguments), None
    if arguments.envelope is not None:
        envelope = read_policy_file(Path(arguments.envelope))
    output = Path(arguments.output or f"{arguments.contracts}.results.jsonl")
    about = {name: getattr(base, name) for name in _ABOUT}
    keys = keys_of(lines, {**about, "envelope": envelope})
    host = reels.virtual_host(arguments)
    with Journal(output) as journal:
        batch = _Batch(host, base, envelope, arguments.account, journal)
        asyncio.run(batch.play(list(zip(keys, lines, strict=True)), max(1, arguments.concurrency)))
        journal.close_with(keys)
    counts = (len(lines), batch.answered, batch.done, batch.failed)
    told = dict(zip(("lines", "answered", "done before", "failed"), counts, strict=True))
    if arguments.json:
        plain = {name.replace(" ", "_"): count for name, count in told.items()}
        print_json({"ok": not batch.failed, **plain, "file": str(output)})
    else:
        words = ", ".join(f"{count} {name}" for name, count in told.items())
        print(f"{output}: {words}")
    return FAILED if batch.failed else OK


class _Batch:
    """A batch under way."""

    def __init__(
        self, host: Host, base: Contract, envelope: Plain, account: str | None, journal: Journal
    ) -> None:
        self._host = host
        self._base = base
        self._envelope = envelope if envelope is None else _checked(host, envelope)
        self._account = account
        self._journal = journal
        self._past: Mapping[str, PastRun] = {}
        self.answered = self.done = self.failed = 0

    async def play(self, work: Sequence[tuple[str, str]], at_once: int) -> None:
        """Answer every line that has no answer, some at a time, begun in their order."""
        progress = Progress(len(work), "contracts")
        async with self._host as host:
            self._past = self._read_past(host)
            left = iter(work)
            tasks = [asyncio.ensure_future(self._work(left, progress)) for _ in range(at_once)]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        progress.close()

    async def _work(self, left: Iterator[tuple[str, str]], progress: Progress) -> None:
        for key, line in left:
            if self._journal.is_done(key):
                self.done += 1
            else:
                row = await self._row(key, line)
                self._journal.put(key, row)
                self.answered += row["ok"]
                self.failed += not row["ok"]
            progress.step()

    def _read_past(self, host: Host) -> Mapping[str, PastRun]:
        """Find what the ledger has of this batch: runs by their keys."""
        _ = host.books
        ledger = host.bookkeeping.ledger
        if ledger is None:
            if self._account is not None:
                raise UsageError("`--account` needs a config with a `host.ledger`")
            return {}
        origin = self._base.origin
        if self._account is not None:
            check_account(ledger.folds, self._account)
            origin = dataclasses.replace(origin, accounts=ledger.folds.accounts.path(self._account))
        self._base = dataclasses.replace(self._base, origin=dataclasses.replace(origin, is_resumable=True))
        runs = past_runs(map(read, ledger.log.store.lines())).values()
        return {run.idem: run for run in runs if run.idem is not None}

    async def _row(self, key: str, line: str) -> dict[str, Any]:
        try:
            asked = self._under_envelope(contract_of_line(line, self._base))
        except UsageError as error:
            return {"ok": False, "error": str(error)}
        for idem in self._journal.tries(key):
            past = self._past.get(idem)
            if past is None:
                break
            found = self._found(past)
            if found is not None:
                return found
        try:
            origin = dataclasses.replace(asked.origin, idem=idem)
            return as_data(await self._host.run(dataclasses.replace(asked, origin=origin)))
        except LedgerError as error:
            if error.code != "duplicate":
                raise
            return {"ok": False, "error": "in_flight"}

    def _found(self, past: PastRun) -> dict[str, Any] | None:
        """Give what came of a contract that was begun before; None where it may be begun anew."""
        if past.is_answered or past.is_in_doubt:
            keep = self._host.bookkeeping.keep
            kept = None if keep is None else keep.get(past.run, ANSWER)
            if kept is not None:
                return as_data(read_answer(kept, past.run))
            return {
                "ok": False,
                "error": "answer_not_kept" if past.is_answered else "in_doubt",
                "run_id": past.run,
            }
        return {"ok": False, "error": "in_flight", "run_id": past.run} if past.end is None else None

    def _under_envelope(self, asked: Contract) -> Contract:
        """Narrow a contract's policy, whoever named it, by the batch's envelope."""
        if self._envelope is None:
            return asked
        if asked.flow_ir is not None:
            raise UsageError("a flow is not put under an envelope: name a policy")
        term = asked.policy_ir
        if term is None:
            name = profile_name(self._host, asked.profile)
            term = self._host.engine.profile_term(name, is_bare=True)
        answer = self._host.language.identify(term, self._host.schema)
        if isinstance(answer, Refusal) or answer.sort != "Policy":
            raise UsageError("what decides is no policy with a term: it is not put under an envelope")
        narrowed = ["policy", ["and", self._envelope, answer.term[1]], *answer.term[2:]]
        return dataclasses.replace(asked, policy_ir=narrowed, profile=None)


def _checked(host: Host, envelope: Plain) -> Plain:
    answer = host.language.identify(envelope, host.schema)
    if isinstance(answer, Refusal):
        raise RefusedTermError("the envelope", answer)
    if answer.sort != "Pred":
        raise UsageError(f"the envelope is a {answer.sort}: a Pred is wanted")
    return answer.term
