"""`llm-policy run`: one prompt, or a batch of JSON lines."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_policy_host.errors import UsageError

from . import reels
from .contracts import add_options, contract, contract_of_line, reason
from .output import FAILED, OK, add_json, exit_code, failure_line, plain, print_json, refusal_text, warn
from .progress import Progress

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from llm_policy_host.values import Contract, Result
    from llm_policy_host.wiring import Host

    from .output import Commands


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("run", help="answer one prompt, or a batch of JSON lines")
    parser.add_argument("config", metavar="CONFIG", help="a config, YAML or Lua")
    parser.add_argument("prompt", nargs="?", metavar="PROMPT", help="`-` or nothing reads standard input")
    parser.add_argument(
        "--batch", metavar="FILE", help="JSON lines: a text, or a record like {prompt, profile, …}"
    )
    parser.add_argument(
        "--concurrency", type=int, metavar="N", help="calls at once in a batch (4; 1 with --record, --replay)"
    )
    parser.add_argument("--stream", action="store_true", help="print the answer as it comes")
    add_options(parser)
    reels.add_options(parser)
    parser.add_argument("--approval", metavar="ID", help="ask again for what waited, once it is approved")
    parser.add_argument("--session", metavar="NAME", help="ask in a session, at its expense")
    parser.add_argument(
        "--now-ms", type=int, metavar="MS", help="begin then, and wait for nothing: of scripted providers"
    )
    add_json(parser)
    parser.set_defaults(do=do)


def do(arguments: argparse.Namespace) -> int:
    """Run; a replay that did not match is the caller's mistake, whatever came of it."""
    host = reels.virtual_host(arguments)
    try:
        code = _do(host, arguments)
    finally:
        host.reel.close()
    host.reel.check()
    return code


def _do(host: Host, arguments: argparse.Namespace) -> int:
    if arguments.batch is not None:
        lines = read_lines(arguments.batch)
        # one after the other, runs begin in the order in which their answers are in the file
        usual = 4 if arguments.record is None and arguments.replay is None else 1
        at_once = max(1, arguments.concurrency or usual)
        return asyncio.run(_run_batch(host, lines, _placed(contract(arguments), arguments), at_once))
    prompt = arguments.prompt
    if prompt in (None, "-"):
        prompt = sys.stdin.read()
    asked = _placed(contract(arguments, prompt), arguments)
    if arguments.stream and not arguments.json:
        return asyncio.run(_stream_one(host, asked))
    return asyncio.run(_run_one(host, asked, as_json=arguments.json))


def _placed(asked: Contract, arguments: argparse.Namespace) -> Contract:
    """Say in which session a request is made, and by which approval it goes on."""
    named = {name: getattr(arguments, name) for name in ("approval", "session")}
    return dataclasses.replace(asked, origin=dataclasses.replace(asked.origin, **named))


async def _run_one(host: Host, asked: Contract, *, as_json: bool) -> int:
    async with host:
        # what is paid for is told, also where the ledger cannot be closed
        return show(await host.run(asked), as_json=as_json)


async def _stream_one(host: Host, asked: Contract) -> int:
    async with host:
        async for chunk in host.stream(asked):
            print(chunk.text, end="", flush=True)
            if chunk.result is not None:
                print()
                return _explain(chunk.result)
    return FAILED


def show(result: Result, *, as_json: bool) -> int:
    """Print a result; give the exit code."""
    if as_json:
        print_json(as_data(result))
        return exit_code(result.error)
    if result.response is not None:
        print(result.response.text)
    return _explain(result)


def _explain(result: Result) -> int:
    """Tell on standard error who served, or why nobody did."""
    for failure in result.failures:
        warn(f"failed on the way: {failure_line(failure)}")
    if result.chosen is not None:
        warn(f"served by {result.chosen['model_family']} @ {result.chosen['provider_id']}")
    if result.approval is not None:
        warn(f"waits for approval ({result.approval.reason}): {result.approval.id}")
    elif result.error is not None:
        warn(f"no answer: {refusal_text(result)}")
    return exit_code(result.error)


def as_data(result: Result) -> dict[str, Any]:
    """Give a result as plain data."""
    data: dict[str, Any] = plain(result)
    return data


def read_lines(name: str) -> list[str]:
    """Read the lines of a file, or of standard input, that hold anything."""
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"the batch `{name}` cannot be read: {reason(error)}") from None
    except UnicodeDecodeError:
        raise UsageError(f"the batch `{name}` is no UTF-8 text") from None
    # JSON may hold what a text's lines end with elsewhere, as U+2028
    return [line for line in text.split("\n") if line.strip()]


async def _run_batch(host: Host, lines: Sequence[str], base: Contract, concurrency: int) -> int:
    """Answer every line; results come out in the order of the lines."""
    progress = Progress(len(lines), "prompts")
    gate = asyncio.Semaphore(concurrency)
    failed = 0
    async with host:

        async def answer(index: int, line: str) -> dict[str, Any]:
            async with gate:
                data = await _answer_line(host, line, base)
            progress.step()
            return {"line": index, **data}

        tasks = [asyncio.create_task(answer(index, line)) for index, line in enumerate(lines, 1)]
        for task in tasks:
            data = await task
            failed += not data["ok"]
            print_json(data)
    progress.close()
    return FAILED if failed else OK


async def _answer_line(host: Host, line: str, base: Contract) -> dict[str, Any]:
    try:
        asked = contract_of_line(line, base)
    except UsageError as error:
        return {"ok": False, "error": str(error)}
    return as_data(await host.run(asked))
