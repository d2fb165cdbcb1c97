"""Plain data as the core writes it (spec 1.4), written here without the core: what digests are made of.

The twin of `lua/llm_policy/language/encoding.lua`; the tests hold the two against each other.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host import spelling
from llm_policy_host.errors import LedgerError
from llm_policy_host.spelling import EXACT, number

if TYPE_CHECKING:
    from llm_policy_host.values import Plain

_ESCAPED = re.compile(r'[\\"\n\r\t]')
_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def encode(value: Plain) -> bytes:
    """Write plain data in its one spelling; what is None in a record is absent, NaN is refused."""
    return spelling.encode(text_of(value))


def digest(value: Plain) -> str:
    """Give the sha256 of plain data's encoding, in hexadecimal."""
    return sha256(encode(value)).hexdigest()


def read(data: bytes) -> Any:  # noqa: ANN401 - plain data
    """Read what `encode` wrote; an empty record comes back as an empty list, as spec 1.4 has it."""
    try:
        return json.loads(data.decode(errors="surrogateescape"), strict=False)
    except (ValueError, RecursionError) as error:
        raise LedgerError("blob", "$", f"no encoded data: {error}") from None


def text_of(value: Plain) -> str:
    """Write plain data as text, so that larger texts can be made of known ones."""
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, Mapping):
        return _record(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(text_of, value))}]"
    raise LedgerError("encoding", "$", "neither text, number, boolean, list nor record")


def quoted(text: str) -> str:
    """Write a text in quotes, escaping exactly what the core escapes."""
    if _ESCAPED.search(text) is not None:
        text = _ESCAPED.sub(lambda match: _ESCAPES[match[0]], text)
    return f'"{text}"'


def _record(record: Mapping[Any, Any]) -> str:
    pairs = [(key, value) for key, value in record.items() if value is not None]
    if not pairs:
        return "[]"
    pairs.sort(key=_by_bytes)
    return f"{{{','.join(f'{quoted(key)}:{text_of(value)}' for key, value in pairs)}}}"


def _by_bytes(pair: tuple[str, object]) -> bytes:
    key = pair[0]
    return key.encode() if key.isascii() else spelling.encode(key)


def _number(value: float) -> str:
    """Write a number: whole ones up to 2^53 in plain digits, others with 17 significant ones."""
    if isinstance(value, int):
        value = number(value)
        if isinstance(value, int):
            return str(value)
    if math.isnan(value):
        raise LedgerError("encoding", "$", "NaN has no encoding")
    if math.isinf(value):
        return '"inf"' if value > 0 else '"-inf"'
    if -EXACT <= value <= EXACT and value.is_integer():
        return str(int(value))
    return f"{value:.17g}"
