"""What an import found: a config of ours, what it left out, and what is otherwise than it was."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeGuard

import yaml

from llm_policy_host.config.yaml_file import is_plain_text
from llm_policy_host.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 4 * 1024 * 1024
_MAX_NAME_BYTES = 256
_MAX_NUMBER = 10**12
_WIDTH = 100


@dataclass(frozen=True, slots=True)
class Note:
    """A part of the file, and why it is not, or otherwise, in the config."""

    path: str
    reason: str


@dataclass(slots=True)
class Imported:
    """A config under way. `lost` did not convert; `changed` did, with another meaning or spelling."""

    providers: dict[str, Any] = field(default_factory=dict)
    models: dict[str, Any] = field(default_factory=dict)
    profiles: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, Any] = field(default_factory=dict)
    lost: list[Note] = field(default_factory=list)
    changed: list[Note] = field(default_factory=list)

    def lose(self, path: str, reason: str) -> None:
        """Note what did not convert."""
        self.lost.append(Note(path, reason))

    def change(self, path: str, reason: str) -> None:
        """Note what is otherwise than it was."""
        self.changed.append(Note(path, reason))

    @property
    def config(self) -> dict[str, Any]:
        """Give the whole config."""
        return {
            "providers": self.providers,
            "models": self.models,
            **self.parts,
            "profiles": self.profiles,
        }

    def text(self, source: str) -> str:
        """Write the config as YAML, under what there is to say of it."""
        lines = [f"# from {source}"]
        for title, notes in (("not converted", self.lost), ("otherwise than it was", self.changed)):
            if notes:
                lines += ["#", f"# {title}:"]
                lines += [f"#   {_one_line(note.path)}: {_one_line(note.reason)}" for note in notes]
        body = yaml.dump(
            self.config, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH, indent=2
        )
        return "\n".join([*lines, "", body])


class _Dumper(yaml.SafeDumper):
    """Writes texts so that our own reader takes them for texts; lists and records of scalars on a line."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401 - whatever is written
        """Write everything out."""
        del data
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = None if is_plain_text(value) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _list(dumper: yaml.SafeDumper, value: list[Any]) -> yaml.SequenceNode:
    is_flat = not any(isinstance(item, dict) for item in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=is_flat)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(list, _list)


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def read_file(path: Path) -> Any:  # noqa: ANN401 - any YAML or JSON
    """Read a YAML or JSON file as plain data with texts as keys."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"`{path}` cannot be read: {(error.strerror or 'unknown reason').lower()}") from None
    if len(data) > MAX_BYTES:
        raise UsageError(f"`{path}` is larger than {MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
        value = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
        return _plain(value, 0)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        what = str(error).splitlines()[0] if str(error) else "nested too deep"
        raise UsageError(f"`{path}` cannot be read: {what}") from None


def _plain(value: Any, depth: int) -> Any:  # noqa: ANN401 - any YAML
    if depth > 32:
        raise ValueError("nested too deep")
    if isinstance(value, dict):
        return {str(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number without end")
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def is_name(value: Any) -> TypeGuard[str]:  # noqa: ANN401 - as the file has it
    """Whether a value can name something in a config."""
    return isinstance(value, str) and 0 < len(value.encode(errors="replace")) <= _MAX_NAME_BYTES


def is_number(value: Any) -> TypeGuard[float]:  # noqa: ANN401 - as the file has it
    """Whether a value is a number of at least 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MAX_NUMBER


def word(text: str) -> str:
    """Make a name of ours out of a text."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"


def usd_per_mtok(usd_per_token: float) -> float:
    """Give a price per million tokens, without the dust of the multiplication."""
    price = round(usd_per_token * 1_000_000, 9)
    return int(price) if price.is_integer() else price


# How each policy here treats failures: as these gateways do.
def failures(attempts: int = 0, cooldown_ms: int | None = None) -> dict[str, Any]:
    """Give a retry policy: go on to the next route, after some more calls of this one where told so."""
    limited: dict[str, Any] = {"action": "next_candidate"}
    if cooldown_ms:
        limited["open_breaker_ms"] = cooldown_ms
    plan: dict[str, Any] = {
        "unknown": {"action": "next_candidate"},
        "rate_limit": limited,
        "bad_request": {"action": "abort"},
    }
    if attempts:
        again = {"action": "retry_same", "attempts": attempts, "backoff_ms": [500, 1000, 2000]}
        plan.update(dict.fromkeys(("server_error", "timeout", "network_error"), again))
    return plan


CHEAPEST: list[Any] = ["neg", ["normalize", ["add", ["field", "price_in"], ["field", "price_out"]]]]
FASTEST: list[Any] = ["normalize", ["field", "tok_s"]]
PROMPTEST: list[Any] = ["neg", ["normalize", ["field", "latency_ms"]]]


def preferring(preds: list[list[Any]], selector: list[Any]) -> list[Any]:
    """Put preferences over a selector, the first of them above the others."""
    for pred in reversed(preds):
        selector = ["prefer", pred, selector]
    return selector
