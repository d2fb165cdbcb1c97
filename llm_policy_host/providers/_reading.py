"""Reads a recording back, and says of a file that is none which line is wrong, where and why."""

from __future__ import annotations

import base64
import difflib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from llm_policy_host.values import FailureKind

from ._items import item_of
from ._recorded import VERSION, Exchange, RecordingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from llm_policy_host.values import Failure, Response, StreamChunk

    Item = Response | Failure | Sequence[StreamChunk]


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recorded attempt: exchanges of a dialect over HTTP, or the items of one that uses none."""

    request: Mapping[str, Any]
    account: str | None
    quota: Sequence[bool]
    exchanges: Sequence[Exchange]
    items: Sequence[tuple[int, Item | None]]


@dataclass(slots=True)
class Recording:
    """A file that was read."""

    started_ms: int = 0
    runs: dict[int, tuple[int, Mapping[str, Any]]] = field(default_factory=dict)
    attempts: dict[tuple[int, int], Recorded] = field(default_factory=dict)
    losses: dict[tuple[str, int], tuple[int, Mapping[str, Any]]] = field(default_factory=dict)


def read_recording(path: Path) -> Recording:
    """Read a recording; a line that was not written to its end, the last one, counts as not written."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordingError(
            f"the recording `{path}` cannot be read: {(error.strerror or '').lower()}"
        ) from None
    lines = data.split(b"\n")[:-1]
    recording = Recording()
    if not lines:
        raise RecordingError(f"{path}:1: no recording: it is empty")
    for number, line in enumerate(lines, 1):
        try:
            given = json.loads(line)
            _READERS[_checked(given, is_first=number == 1)](recording, given)
        except (ValueError, RecursionError) as error:
            what = str(error) if isinstance(error, _LineError) else "no JSON"
            raise RecordingError(f"{path}:{number}: {what}") from None
    return recording


class _LineError(ValueError):
    """What is wrong with a line."""


def _checked(given: Any, *, is_first: bool) -> str:  # noqa: ANN401 - whatever the line holds
    """Give a line's type; refuse what does not have its form."""
    if not isinstance(given, dict) or not isinstance(given.get("type"), str):
        raise _LineError("$: a line is a record with a `type`")
    kind: str = given["type"]
    if (kind == "recording") != is_first:
        raise _LineError("$.type: the first line, and no other, is of the type `recording`")
    _check("$", given, _LINES.get(kind) or _unknown("$.type", kind, _LINES))
    return kind


def _unknown(path: str, name: str, known: Iterable[str]) -> Mapping[str, Callable[[Any], bool]]:
    near = difflib.get_close_matches(name, sorted(known), 1)
    hint = f" (did you mean `{near[0]}`?)" if near else ""
    raise _LineError(f"{path}: unknown `{name}`{hint}")


def _check(path: str, given: Mapping[str, Any], form: Mapping[str, Callable[[Any], bool]]) -> None:
    for name in given:
        if name not in form:
            _unknown(path, name, form)
    for name, is_good in form.items():
        if name not in given:
            raise _LineError(f"{path}.{name}: missing")
        if not is_good(given[name]):
            raise _LineError(f"{path}.{name}: not what a recording has there")


def _is_count(value: Any) -> bool:  # noqa: ANN401
    return type(value) is int and value >= 0


def _is_text(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, str)


def _is_record(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, dict)


def _is_list(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, list)


def _is_answers(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, list) and all(isinstance(each, bool) for each in value)


def _is_texts(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())


_FLAGS = ("is_unsent", "is_callers_fault")


def _is_failure(value: Any) -> bool:  # noqa: ANN401
    return (
        isinstance(value, dict)
        and value.get("kind") in get_args(FailureKind)
        and _is_text(value.get("detail"))
        and set(value) <= {"kind", "detail", "http_status", "retry_after_ms", *_FLAGS}
        and all(isinstance(value.get(name, False), bool) for name in _FLAGS)
    )


def _is_pieces(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, list) and all(
        isinstance(each, list) and len(each) == 2 and _is_count(each[0]) and _is_piece(each[1])
        for each in value
    )


def _is_piece(value: Any) -> bool:  # noqa: ANN401
    if isinstance(value, dict) and set(value) == {"base64"} and isinstance(value["base64"], str):
        return (
            re.fullmatch(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", value["base64"])
            is not None
        )
    return isinstance(value, str)


_LINES: Mapping[str, Mapping[str, Callable[[Any], bool]]] = {
    "recording": {"type": _is_text, "v": _is_count, "started_ms": _is_count},
    "run": {"type": _is_text, "run": _is_count, "seed": _is_count, "others": _is_record, "gone": _is_list},
    "credential": {
        "type": _is_text,
        "provider": _is_text,
        "ask": _is_count,
        "waited_us": _is_count,
        "failure": _is_failure,
    },
    "attempt": {
        "type": _is_text,
        "run": _is_count,
        "attempt": _is_count,
        "request": _is_record,
        "account": lambda value: value is None or _is_text(value),
        "quota": _is_answers,
        "exchanges": _is_list,
        "items": _is_list,
    },
}
_EXCHANGE: Mapping[str, Callable[[Any], bool]] = {
    "status": lambda value: value is None or _is_count(value),
    "headers": _is_texts,
    "head_us": _is_count,
    "pieces": _is_pieces,
    "end": lambda value: value in ("end", "open") or _is_failure(value),
    "end_us": _is_count,
}


def _read_head(recording: Recording, given: Mapping[str, Any]) -> None:
    if given["v"] != VERSION:
        raise _LineError(f"$.v: this program reads version {VERSION}, not `{given['v']}`")
    recording.started_ms = given["started_ms"]


def _read_run(recording: Recording, given: Mapping[str, Any]) -> None:
    number = len(recording.runs) + 1
    if given["run"] != number:
        raise _LineError(f"$.run: run {number} is the next one, not `{given['run']}`")
    before = recording.runs[number - 1][1] if number > 1 else {}
    others = before
    if given["others"] or given["gone"]:
        # the same objects where nothing changed: an engine keeps what it made of them
        others = {name: value for name, value in before.items() if name not in given["gone"]} | given[
            "others"
        ]
    recording.runs[number] = (given["seed"], others)


def _read_loss(recording: Recording, given: Mapping[str, Any]) -> None:
    recording.losses[given["provider"], given["ask"]] = (given["waited_us"], given["failure"])


def _read_attempt(recording: Recording, given: Mapping[str, Any]) -> None:
    place = (given["run"], given["attempt"])
    if place in recording.attempts:
        raise _LineError(f"$.attempt: attempt {place[1]} of run {place[0]} is here twice")
    exchanges = [_exchange(index, each) for index, each in enumerate(given["exchanges"])]
    items = [_item(index, each) for index, each in enumerate(given["items"])]
    recording.attempts[place] = Recorded(given["request"], given["account"], given["quota"], exchanges, items)


def _item(index: int, given: Any) -> tuple[int, Item | None]:  # noqa: ANN401 - whatever the line holds
    try:
        if isinstance(given, list) and len(given) == 2 and _is_count(given[0]):
            return given[0], None if given[1] is None else item_of(given[1])
    except ValueError:
        pass
    raise _LineError(f"$.items[{index}]: not what a recording has there")


def _exchange(index: int, given: Any) -> Exchange:  # noqa: ANN401 - whatever the line holds
    path = f"$.exchanges[{index}]"
    if not isinstance(given, dict):
        raise _LineError(f"{path}: not what a recording has there")
    _check(path, given, _EXCHANGE)
    pieces = [(gap, _bytes(piece)) for gap, piece in given["pieces"]]
    return Exchange(**{**given, "pieces": pieces})


_READERS: Mapping[str, Callable[[Recording, Mapping[str, Any]], None]] = {
    "recording": _read_head,
    "run": _read_run,
    "credential": _read_loss,
    "attempt": _read_attempt,
}


def _bytes(piece: Any) -> bytes:  # noqa: ANN401 - as it stands in the file
    return piece.encode() if isinstance(piece, str) else base64.b64decode(piece["base64"], validate=True)
