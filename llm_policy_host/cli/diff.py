"""`llm-policy diff`: what differs between two policies, or two configs, and which decisions change."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from llm_policy_host.analysis.changes import Comparison
from llm_policy_host.analysis.corpus import Occasion, corpus
from llm_policy_host.analysis.decisions import Side, moved
from llm_policy_host.analysis.subject import bare_engine
from llm_policy_host.core.engine import LuaEngine
from llm_policy_host.core.language import Language
from llm_policy_host.core.vm import Vm
from llm_policy_host.errors import UsageError
from llm_policy_host.run.shape import shape
from llm_policy_host.values import Contract
from llm_policy_host.wiring import Host

from .contracts import contract_of_line, reason
from .diff_report import Compared, Difference, data, lines, worded
from .output import FAILED, OK, add_json, print_json
from .subjects import WHAT, Named, find, identity, is_term, profile_names, read, under_envelope

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llm_policy_host.analysis.decisions import Moved
    from llm_policy_host.analysis.subject import Subject

    from .output import Commands


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("diff", help="say what differs between two policies, and what they decide")
    parser.add_argument("first", metavar="A", help=WHAT)
    parser.add_argument("second", metavar="B", help="the other; two configs are compared profile by profile")
    parser.add_argument(
        "-c", "--config", metavar="CONFIG", help="the catalog and the names of two bare terms"
    )
    parser.add_argument("--contracts", metavar="FILE", help="JSON lines to decide on, as of `run --batch`")
    parser.add_argument(
        "-n", "--n", type=_count, default=200, metavar="N", help="contracts drawn from the catalog (200)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="what they are drawn by (0)")
    parser.add_argument(
        "--show", type=_count, default=3, metavar="N", help="how many changed decisions are shown (3)"
    )
    add_json(parser)
    parser.set_defaults(do=do)


def do(arguments: argparse.Namespace) -> int:
    """Compare."""
    given = None if arguments.contracts is None else _read_contracts(Path(arguments.contracts))
    compared = [_compared(name, (one, other), arguments, given) for name, one, other in _pairs(arguments)]
    is_same = all(each.is_same for each in compared)
    if arguments.json:
        print_json({"ok": is_same, "compared": [data(each) for each in compared]})
    else:
        for each in compared:
            for line in lines(each, arguments.show):
                print(line)
    return OK if is_same else FAILED


def _pairs(arguments: argparse.Namespace) -> Iterator[tuple[str, Named | None, Named | None]]:
    """Pair what is compared: two policies, or the profiles of two configs by name."""
    paths = (arguments.first, arguments.second)
    if any(is_term(path) or "#" in path for path in paths):
        yield _policies(*paths, arguments.config)
        return
    hosts = [Host.from_config(path) for path in paths]
    known = [profile_names(host) for host in hosts]
    for name in sorted({*known[0], *known[1]}):
        sides = [
            Named(f"{path}#{name}", host, name) if name in names else None
            for path, host, names in zip(paths, hosts, known, strict=True)
        ]
        yield name, sides[0], sides[1]


def _policies(first: str, second: str, config: str | None) -> tuple[str, Named, Named]:
    """Find two policies; a bare term is one of a caller of the other's config, or of `--config`."""
    one, other = find(first), find(second)
    around = None if config is None else Host.from_config(config)
    return (
        f"{first} -> {second}",
        Named(one.name, one.host or around or other.host, one.profile),
        Named(other.name, other.host or around or one.host, other.profile),
    )


def _compared(
    name: str,
    sides: tuple[Named | None, Named | None],
    arguments: argparse.Namespace,
    given: Sequence[Occasion] | None,
) -> Compared:
    first, second = sides
    language = Language(Vm())
    subjects = [None if side is None else _subject(side) for side in (first, second)]
    identities = [None if subject is None else identity(subject) for subject in subjects]
    if first is None or second is None:
        return Compared(name, identities, is_pair=False, changes=[], decisions=[], decided=0)
    changes = _changes(language, *subjects)
    occasions = _occasions(first, second, arguments) if given is None else given
    is_decided = all(side.host is not None for side in (first, second)) and not _is_part(*subjects)
    decisions: list[Moved] = []
    if is_decided:
        decisions = [*moved(_side(first, subjects[0]), _side(second, subjects[1]), occasions)]
    return Compared(
        name,
        identities,
        is_pair=True,
        changes=changes,
        decisions=decisions,
        decided=len(occasions) if is_decided else 0,
    )


def _subject(named: Named) -> Subject | None:
    """Read a policy; None for one that calls functions."""
    if named.profile is None:
        subject = read(named, named.schema)
        return subject if named.host is None else under_envelope(subject, named.host.config.core)
    is_local = named.host is not None and named.host.engine.profile_term(named.profile) is None
    return None if is_local else read(named)


def _is_part(*subjects: Subject | None) -> bool:
    """Whether these are terms of another sort than a policy, which decide nothing."""
    return any(subject is not None and subject.sort != "Policy" for subject in subjects)


def _changes(language: Language, first: Subject | None, second: Subject | None) -> list[Difference]:
    if first is None or second is None:
        return []
    if first.sort != second.sort:
        raise UsageError(f"`{first.name}` is a {first.sort}, `{second.name}` a {second.sort}")
    found = Comparison(language.signature()).changes(first.term, second.term)
    return [worded(language, change) for change in found]


def _side(named: Named, subject: Subject | None) -> Side:
    """Give the engine that decides, of its own health, and what names the policy there."""
    if named.host is None:
        raise UsageError(f"`{named.name}` has no catalog to decide over")
    engine = named.host.engine
    fresh = bare_engine(named.host.config.core) if isinstance(engine, LuaEngine) else engine
    if named.profile is None and subject is not None:
        return Side(fresh, {"policy_ir": subject.term})
    return Side(fresh, {"profile": named.profile})


def _occasions(first: Named, second: Named, arguments: argparse.Namespace) -> list[Occasion]:
    catalogs = [side.host.engine.candidates for side in (first, second) if side.host is not None]
    return corpus([each for catalog in catalogs for each in catalog], arguments.seed, arguments.n)


def _read_contracts(path: Path) -> list[Occasion]:
    try:
        lines_ = path.read_text("utf-8").split("\n")
    except OSError as error:
        raise UsageError(f"`{path}` cannot be read: {reason(error)}") from None
    return [_occasion(path, number, line) for number, line in enumerate(lines_, 1) if line.strip()]


def _occasion(path: Path, number: int, line: str) -> Occasion:
    """Take a line as a contract; which policy it names does not count, and its seed is 0 if it has none."""
    try:
        contract = shape(contract_of_line(line, Contract(seed=0)))
    except UsageError as error:
        raise UsageError(f"{path}:{number}: {error}") from None
    return Occasion({key: value for key, value in contract.items() if key not in ("profile", "policy_ir")})


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"`{text}` is no whole number")
    return int(text)
