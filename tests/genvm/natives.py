"""The functions of the Rust side: what they take, checked as serde would, and what they do."""

from __future__ import annotations

import hashlib
import json
import math
import re
import unicodedata
from typing import TYPE_CHECKING, Any

from .payload import PayloadError, check_calldata, decoded
from .values import NativeError, NativeRaisedError, Request, UserError

if TYPE_CHECKING:
    from .world import World

LEVELS = {"trace", "debug", "info", "warn", "warning", "error"}
FORMATS = {"text", "json", "bool"}
U32 = 2**32
# invisible characters of no width
ZERO_WIDTH = re.compile("[\u200b\u200c\u200d\u2060\ufeff\u00ad]")
TEXT_FILTERS = {
    "NFC": lambda text: unicodedata.normalize("NFC", text),
    "NFKC": lambda text: unicodedata.normalize("NFKC", text),
    "NormalizeWS": lambda text: re.sub(r"\s+", " ", text).strip(),
    "RmZeroWidth": lambda text: ZERO_WIDTH.sub("", text),
}


class ModuleKilledError(Exception):
    """The module's process is gone: a native panicked."""


def _need(holds: Any, complaint: str) -> None:
    if not holds:
        raise PayloadError(complaint)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_integer(value: Any, below: int) -> bool:
    return type(value) is int and 0 <= value < below


def _record(value: Any, what: str) -> dict[str, Any]:
    _need(isinstance(value, dict), f"{what}: a record is wanted")
    return dict(value)


class Natives:
    """Every native by its name; each gives what Lua gets, or raises NativeError or PayloadError."""

    def __init__(self, world: World, seed_bytes: bytes) -> None:
        self._world = world
        self._seed_bytes, self._drawn = seed_bytes, 0

    # lib-llm ---------------------------------------------------------------------------------------

    def request_of(self, ctx: Any, req: Any) -> Request:
        """Check the arguments of `exec_prompt_in_provider`."""
        session = self._world.session_of(ctx)
        _need(session is not None, "ctx: is not the session's own table")
        req = _record(self._world.byte_reader.read(req, "req"), "req")
        texts = {}
        for name in ("provider", "model", "format"):
            _need(isinstance(req.get(name), bytes), f"req.{name}: a string is wanted")
            texts[name] = decoded(req[name], f"req.{name}")
        _need(texts["format"] in FORMATS, f"req.format: no format `{texts['format']}`")
        timeout = req.get("timeout")
        _need(
            timeout is None or (_is_number(timeout) and timeout > 0),
            "req.timeout: a positive number is wanted",
        )
        unknown = set(req) - {"provider", "model", "format", "timeout", "prompt"}
        _need(not unknown, f"req: no field {sorted(unknown)}")
        prompt = self._prompt(_record(req.get("prompt"), "req.prompt"))
        assert session is not None
        return Request(**texts, timeout=timeout, prompt=prompt, genvm_id=session.genvm_id)

    def _prompt(self, prompt: dict[str, Any]) -> dict[str, Any]:
        _need(isinstance(prompt.get("user_message"), bytes), "prompt.user_message: a string is wanted")
        _need(
            isinstance(prompt.get("system_message"), bytes | None),
            "prompt.system_message: a string is wanted",
        )
        _need(_is_number(prompt.get("temperature")), "prompt.temperature: a number is wanted")
        images = prompt.get("images") or []
        _need("images" in prompt and isinstance(images, list), "prompt.images: an array is wanted")
        _need(all(isinstance(each, bytes) for each in images), "prompt.images: byte strings are wanted")
        _need(_is_integer(prompt.get("max_tokens"), U32), "prompt.max_tokens: an integer is wanted")
        _need(
            isinstance(prompt.get("use_max_completion_tokens"), bool),
            "prompt.use_max_completion_tokens: a boolean is wanted",
        )
        seed = prompt.get("seed")
        _need(seed is None or _is_integer(seed, 2**63), "prompt.seed: an integer from 0 is wanted")
        out = {**prompt, "images": images}
        for name in ("user_message", "system_message"):
            if name in out:
                out[name] = decoded(out[name], f"prompt.{name}")
        return out

    def exhaust(self) -> None:
        """End the session's budget."""
        self._world.exhausted += 1
        raise NativeRaisedError(NativeError(None, "exhausted"))

    # lib-genvm -------------------------------------------------------------------------------------

    def log_json(self, entry: Any = None) -> None:
        entry = _record(self._world.reader.read(entry, "log"), "log")
        _need(entry.get("level", "info") in LEVELS, f"log.level: no level `{entry.get('level')}`")
        _need(isinstance(entry.get("message", ""), str), "log.message: a string is wanted")
        self._world.logs.append(entry)
        if self._world.log_fails:
            raise NativeRaisedError(NativeError(None, "the log is closed"))

    def user_error(self, error: Any = None) -> None:
        raise NativeRaisedError(
            NativeError(self._user_error(_record(self._world.reader.read(error, "user_error"), "user_error")))
        )

    def _user_error(self, error: dict[str, Any]) -> UserError:
        causes, fatal, ctx = error.get("causes"), error.get("fatal"), error.get("ctx")
        _need(isinstance(causes, list) and causes, "user_error.causes: an array of strings is wanted")
        _need(all(isinstance(each, str) for each in causes or []), "user_error.causes: strings are wanted")
        _need(isinstance(fatal, bool), "user_error.fatal: a boolean is wanted")
        _need(isinstance(ctx, dict), "user_error.ctx: a record is wanted")
        if not fatal:
            check_calldata(ctx, "user_error.ctx")
        return UserError(causes or [], bool(fatal), ctx or {})

    def as_user_error(self, error: Any = None) -> Any:
        _need(isinstance(error, NativeError), "as_user_error: only for caught native errors")
        user = error.user
        return user and {"causes": user.causes, "fatal": user.fatal, "ctx": user.ctx}

    def check_sleep(self, seconds: Any = None) -> float:
        """Check the argument of `sleep_seconds`: a bad number is a panic."""
        _need(_is_number(seconds), "sleep_seconds: a number is wanted")
        if math.isnan(seconds) or seconds < 0 or math.isinf(seconds):
            raise ModuleKilledError(f"sleep_seconds({seconds})")
        return float(seconds)

    def filter_text(self, text: Any = None, filters: Any = None) -> str:
        _need(isinstance(text, bytes), "filter_text: a string is wanted")
        names = self._world.reader.read(filters, "filter_text") or []
        _need(isinstance(names, list), "filter_text: an array of filters is wanted")
        out = decoded(text, "filter_text")
        for name in names:
            _need(isinstance(name, str) and name in TEXT_FILTERS, f"filter_text: no filter {name!r}")
            out = TEXT_FILTERS[name](out)
        self._world.text_filters.append(names)
        return out

    def filter_image(self, image: Any = None, filters: Any = None) -> bytes:
        _need(isinstance(image, bytes), "filter_image: a byte string is wanted")
        rows = self._world.reader.read(filters, "filter_image") or []
        _need(isinstance(rows, list), "filter_image: an array of filters is wanted")
        for row in rows:
            _need(isinstance(row, dict) and len(row) == 1, "filter_image: a table with one filter is wanted")
            ((name, value),) = row.items()
            self._image_filter(name, value)
        _need(image.startswith(b"\x89PNG"), "filter_image: no image")
        self._world.image_filters.append(rows)
        return bytes(image) + b"|" + json.dumps(rows, sort_keys=True).encode()

    def _image_filter(self, name: str, value: Any) -> None:
        if name == "Unsharpen":
            values = value if isinstance(value, list) else list(_record(value, "Unsharpen").values())
            _need(values and all(_is_number(each) for each in values), "Unsharpen: numbers are wanted")
        elif name == "GuassianNoise":
            _need(_is_number(value) and value >= 0, "GuassianNoise: a number from 0 is wanted")
        elif name == "JPEG":
            _need(_is_integer(value, 101), "JPEG: an integer up to 100 is wanted")
        else:
            raise PayloadError(f"filter_image: no filter `{name}`")

    def random_bytes(self, n: Any = None) -> bytes:
        _need(_is_integer(n, 65536), "random_bytes: an integer is wanted")
        out = b""
        while len(out) < n:
            self._drawn += 1
            out += hashlib.sha256(self._seed_bytes + self._drawn.to_bytes(8, "big")).digest()
        return out[:n]

    def random_float(self) -> float:
        return int.from_bytes(self.random_bytes(6), "big") / 2**48

    def monotonic_ms(self) -> int:
        self._world.now_ms += self._world.tick_ms  # as if reading took that long
        return self._world.now_ms

    def json_parse(self, text: Any = None) -> Any:
        _need(isinstance(text, bytes), "json_parse: a string is wanted")
        try:
            return json.loads(decoded(text, "json_parse"))
        except ValueError as error:
            raise NativeRaisedError(NativeError(None, f"json_parse: {error}")) from error

    def json_stringify(self, value: Any = None) -> str:
        return json.dumps(self._world.reader.read(value, "json_stringify"), sort_keys=True)
