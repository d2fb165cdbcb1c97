"""What of a batch is done: a line a result, written as each comes, and set in order at the end."""

from __future__ import annotations

import json
from collections import Counter
from hashlib import sha256
from itertools import count
from typing import TYPE_CHECKING, Any, Self

from llm_policy_host.errors import UsageError

from .contracts import reason
from .output import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from llm_policy_host.values import Plain


def keys_of(lines: Sequence[str], about: Mapping[str, Plain]) -> list[str]:
    """Name the lines of a batch: by what they ask and what is asked of all, equal lines by their count."""
    seen: Counter[str] = Counter()
    all_ = json.dumps(plain(about), sort_keys=True)
    keys = []
    for line in lines:
        seen[line] += 1
        keys.append(_digest(f"{all_}\n{line}\n{seen[line]}"))
    return keys


def _digest(text: str) -> str:
    return sha256(text.encode(errors="surrogatepass")).hexdigest()


class Journal:
    """The results of a batch. Beside `output` lies what is not in order yet, until the batch is over."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self._part = output.with_name(f"{output.name}.part")
        self._rows: dict[str, dict[str, Any]] = {}
        for path, is_whole in ((output, True), (self._part, False)):
            self._read(path, is_whole=is_whole)
        try:
            self._file = self._part.open("a", encoding="utf-8", errors="replace")
        except OSError as error:
            raise UsageError(f"`{self._part}` cannot be written: {reason(error)}") from None
        if self._part.stat().st_size:
            self._file.write("\n")  # behind a line that was torn

    def is_done(self, key: str) -> bool:
        """Whether a line was answered."""
        return bool(self._rows.get(key, {}).get("ok"))

    def tries(self, key: str) -> Iterator[str]:
        """Give the idempotency keys of a line: the next where a run under one has failed."""
        return (_digest(f"{key}\n{number}") for number in count())

    def put(self, key: str, row: Mapping[str, Any]) -> None:
        """Take a result; once it returns, it outlives the process."""
        self._rows[key] = {"key": key, **plain(row)}
        self._file.write(json.dumps(self._rows[key], ensure_ascii=False) + "\n")
        self._file.flush()

    def close_with(self, keys: Sequence[str]) -> None:
        """Write the results in the order of the lines."""
        made = self._output.with_name(f"{self._output.name}.new")
        with made.open("w", encoding="utf-8", errors="replace") as file:
            for number, key in enumerate(keys, 1):
                row = {"line": number, **self._rows[key]}
                file.write(json.dumps({**row, "line": number}, ensure_ascii=False) + "\n")
        made.replace(self._output)
        self._part.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _read(self, path: Path, *, is_whole: bool) -> None:
        if not path.exists():
            return
        for number, line in enumerate(path.read_text("utf-8", errors="replace").split("\n"), 1):
            if not line:
                continue
            try:
                row = json.loads(line)
                self._rows[row["key"]] = row
            except (ValueError, KeyError, TypeError):
                if is_whole:
                    detail = "is no result of a batch; name another file with `-o`"
                    raise UsageError(f"{path}:{number}: {detail}") from None
