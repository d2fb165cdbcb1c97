"""A file of behaviours read: every mistake in it with its place and the nearest name that exists."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, get_args

from llm_policy_host.config.names import nearest
from llm_policy_host.config.yaml_file import parse_yaml
from llm_policy_host.errors import ConfigError, HostError
from llm_policy_host.providers.scripted import check_scripts
from llm_policy_host.values import FailureKind

from .behaviour import HANG, Behaviour, Conduct, Misfortune, Outage, Request
from .distribution import SHAPES, Distribution, constant

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from llm_policy_host.config.document import Document

_At = tuple[str | int, ...]

TOP: Final[Mapping[str, str]] = {
    "every_ms": "how far apart runs begin; without it each run is alone and finds everyone healthy",
    "request": "`{input_tokens, output_tokens}` of a run (1000 and 300)",
    "behaviour": "a provider's name to how it behaves",
    "otherwise": "how providers behave that are not named (they answer at once)",
}
KEYS: Final[Mapping[str, str]] = {
    "latency_ms": "how long an answer takes (0)",
    "failures": "a failure kind, or `hang`, to how often it comes: a share of 1, or a record",
    "outages": "times in which every call fails: a list of records",
    "price_factor": "what the provider's prices are multiplied by, drawn for each run",
    "turns": "what it does call by call, as `host.scripts` has it; the last turn stays",
    "models": "a model family to how this provider behaves there, with the keys above but `price_factor`",
}
MISFORTUNE: Final[Mapping[str, str]] = {
    "share": "how often it comes, of 1",
    "latency_ms": "how long it takes to fail (as an answer does)",
    "http_status": "its status",
    "retry_after_ms": "when the provider says to come again",
}
OUTAGE: Final[Mapping[str, str]] = {
    "from_ms": "when it begins, counted from the simulation's beginning",
    "for_ms": "how long it lasts",
    "failure": "the kind, or `hang` (server_error)",
    "latency_ms": "how long each call takes to fail",
    "http_status": "its status",
    "retry_after_ms": "when the provider says to come again",
}
_REQUEST = ("input_tokens", "output_tokens")
_KINDS = (*get_args(FailureKind), HANG)


def read_conduct(text: str, file: str, candidates: Iterable[Mapping[str, Any]]) -> Conduct:
    """Read a file for a catalog, or raise every mistake in it."""
    document = parse_yaml(text, file)
    reader = _Reader(document, list(candidates))
    conduct = reader.conduct(document.data)
    if document.problems:
        raise ConfigError(
            sorted(document.problems, key=lambda problem: (problem.line, problem.column, problem.path))
        )
    return conduct


def conduct_of_scripts(scripts: Mapping[str, Any], candidates: Iterable[Mapping[str, Any]]) -> Conduct:
    """Take a config's own scripts as the behaviour of its providers."""
    routes: dict[tuple[str, str | None], Behaviour] = {}
    for candidate in candidates:
        script = scripts.get(candidate["provider_id"])
        turns = script.get(candidate["served_model_id"]) if isinstance(script, dict) else script
        if script is not None:
            routes[candidate["provider_id"], candidate["model_family"]] = Behaviour(turns=turns or [])
    return Conduct(routes)


class _Reader:
    """Reads values, noting what is wrong in the document; a wrong value is read as its default."""

    def __init__(self, document: Document, candidates: Sequence[Mapping[str, Any]]) -> None:
        self._document = document
        self._families: dict[str, set[str]] = {}
        self._factor_names: dict[str, str] = {}
        for candidate in candidates:
            provider_id = candidate["provider_id"]
            self._families.setdefault(provider_id, set()).add(candidate["model_family"])
            self._factor_names[provider_id] = candidate.get("source") or provider_id

    def conduct(self, data: Any) -> Conduct:  # noqa: ANN401 - as written
        top = self._record((), data, TOP)
        routes: dict[tuple[str, str | None], Behaviour] = {}
        factors: dict[str, Distribution] = {}
        for name, entry in self._record(("behaviour",), top.get("behaviour", {}), None).items():
            at: _At = ("behaviour", name)
            if self._is_known(at, name, self._families, "provider"):
                self._provider(at, entry, routes, factors)
        return Conduct(
            routes,
            self._behaviour(("otherwise",), top.get("otherwise", {}), ("models", "price_factor")),
            self._request(top.get("request", {})),
            self._optional((), top, "every_ms"),
            factors,
        )

    def _provider(
        self,
        at: _At,
        entry: Any,  # noqa: ANN401 - as written
        routes: dict[tuple[str, str | None], Behaviour],
        factors: dict[str, Distribution],
    ) -> None:
        name = str(at[-1])
        routes[name, None] = self._behaviour(at, entry, ())
        data = entry if isinstance(entry, dict) else {}
        if "price_factor" in data:
            known_as = self._factor_names[name]
            if known_as in factors:
                self._document.report(
                    (*at, "price_factor"), f"the prices of the source `{known_as}` have a factor"
                )
            factors[known_as] = self._number_of((*at, "price_factor"), data["price_factor"], is_above_0=True)
        for family, own in self._record((*at, "models"), data.get("models", {}), None).items():
            if self._is_known(
                (*at, "models", family), family, self._families[name], "model of this provider"
            ):
                routes[name, family] = self._behaviour(
                    (*at, "models", family), own, ("models", "price_factor")
                )

    def _behaviour(self, at: _At, entry: Any, without: Sequence[str]) -> Behaviour:  # noqa: ANN401 - as written
        data = self._record(at, entry, [key for key in KEYS if key not in without])
        if "turns" in data:
            for key in ("latency_ms", "failures", "outages"):
                if key in data:
                    self._document.report((*at, key), "beside `turns`, which say all", key=True)
            return Behaviour(turns=self._turns((*at, "turns"), data["turns"]))
        latency_ms = self._optional(at, data, "latency_ms") or constant(0)
        failures = tuple(self._failures((*at, "failures"), data.get("failures", {})))
        return Behaviour(
            latency_ms, failures, tuple(self._outages((*at, "outages"), data.get("outages", [])))
        )

    def _failures(self, at: _At, entry: Any) -> list[Misfortune]:  # noqa: ANN401 - as written
        found = []
        for kind, value in self._record(at, entry, None).items():
            if not self._is_known((*at, kind), kind, _KINDS, "failure kind"):
                continue
            data = self._record(
                (*at, kind), value if isinstance(value, dict) else {"share": value}, MISFORTUNE
            )
            if "share" not in data:
                self._document.report((*at, kind), "needs a `share`")
            where: _At = (*at, kind, "share") if isinstance(value, dict) else (*at, kind)
            share = self._plain(where, data.get("share", 0), 1)
            found.append(self._misfortune((*at, kind), kind, share, data))
        if sum(each.share for each in found) > 1 + 1e-9:
            self._document.report(at, "the shares are more than 1 together")
        return found

    def _misfortune(self, at: _At, kind: str, share: float, data: Mapping[str, Any]) -> Misfortune:
        status = data.get("http_status")
        if status is not None and (not isinstance(status, int) or not 100 <= status <= 599):
            self._document.report((*at, "http_status"), "must be a status from 100 to 599")
            status = None
        return Misfortune(
            kind,
            share,
            self._optional(at, data, "latency_ms"),
            status,
            self._optional(at, data, "retry_after_ms"),
        )

    def _outages(self, at: _At, entry: Any) -> list[Outage]:  # noqa: ANN401 - as written
        if not isinstance(entry, list):
            self._document.report(at, "must be a list")
            return []
        return [self._outage((*at, place), each) for place, each in enumerate(entry, 1)]

    def _outage(self, at: _At, entry: Any) -> Outage:  # noqa: ANN401 - as written
        data = self._record(at, entry, OUTAGE)
        for key in ("from_ms", "for_ms"):
            if key not in data:
                self._document.report(at, f"needs `{key}`")
        kind = data.get("failure", "server_error")
        self._is_known((*at, "failure"), kind, _KINDS, "failure kind", is_key=False)
        begins, lasts = (self._plain((*at, key), data.get(key, 0)) for key in ("from_ms", "for_ms"))
        return Outage(begins, lasts, self._misfortune(at, str(kind), 1, data))

    def _turns(self, at: _At, entry: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - as written
        if not isinstance(entry, list):
            self._document.report(at, "must be a list of turns")
            return []
        good = []
        for place, turn in enumerate(entry, 1):
            try:
                check_scripts({"": [turn]})
            except HostError as error:
                self._document.report((*at, place), str(error).removeprefix("the script of `` "))
            else:
                good.append(turn)
        return good

    def _request(self, entry: Any) -> Request:  # noqa: ANN401 - as written
        data = self._record(("request",), entry, _REQUEST)
        read, written = (self._optional(("request",), data, key) for key in _REQUEST)
        return Request(read or Request().input_tokens, written or Request().output_tokens)

    # Values -----------------------------------------------------------------------------------

    def _record(self, at: _At, entry: Any, known: Iterable[str] | None) -> dict[str, Any]:  # noqa: ANN401
        """Take a record; a key that is not known is a mistake."""
        if not isinstance(entry, dict):
            self._document.report(at, "must be a record")
            return {}
        names = None if known is None else list(known)
        return {
            key: value
            for key, value in entry.items()
            if names is None or self._is_known((*at, key), key, names, "key")
        }

    def _is_known(
        self, at: _At, name: object, known: Iterable[str], what: str, *, is_key: bool = True
    ) -> bool:
        names = list(known)
        if name in names:
            return True
        near = nearest(str(name), names)
        self._document.report(at, f"no {what} `{name}`", near=near, key=is_key)
        return False

    def _optional(self, at: _At, data: Mapping[str, Any], key: str) -> Distribution | None:
        return self._number_of((*at, key), data[key]) if key in data else None

    def _number_of(self, at: _At, entry: Any, *, is_above_0: bool = False) -> Distribution:  # noqa: ANN401
        """Read a distribution, of numbers from 0 on."""
        if not isinstance(entry, dict):
            return constant(self._plain(at, entry, is_above_0=is_above_0))
        if len(entry) != 1:
            self._document.report(at, f"must be a number, or a record of one of {', '.join(SHAPES)}")
            return constant(1)
        ((shape, value),) = entry.items()
        if not self._is_known((*at, shape), shape, SHAPES, "distribution"):
            return constant(1)
        return self._shaped((*at, shape), shape, value, is_above_0=is_above_0)

    def _shaped(self, at: _At, shape: str, value: Any, *, is_above_0: bool) -> Distribution:  # noqa: ANN401
        if shape == "lognormal":
            is_fit = isinstance(value, dict) and set(value) == {"p50", "p99"}
            values = [value["p50"], value["p99"]] if is_fit else []
        else:
            values = value if isinstance(value, list) else [value]
            is_fit = len(values) == {"uniform": 2, "exponential": 1}.get(shape, len(values)) and bool(values)
            is_fit = is_fit and isinstance(value, list) is (shape != "exponential")
        if not is_fit:
            self._document.report(at, f"must be {SHAPES[shape]}")
            return constant(1)
        is_above_0 = is_above_0 or shape == "lognormal"
        numbers = tuple(self._plain(at, each, is_above_0=is_above_0) for each in values)
        if shape in ("uniform", "lognormal") and numbers[0] > numbers[1]:
            self._document.report(at, "the second number is below the first")
            return constant(1)
        return Distribution(shape, numbers)

    def _plain(self, at: _At, entry: Any, most: float = math.inf, *, is_above_0: bool = False) -> float:  # noqa: ANN401
        is_number = isinstance(entry, int | float) and not isinstance(entry, bool)
        if is_number and (entry > 0 if is_above_0 else entry >= 0) and entry <= most:
            return float(entry)
        bounds = "above 0" if is_above_0 else "from 0 on" if most == math.inf else f"from 0 to {most:g}"
        self._document.report(at, f"must be a number {bounds}")
        return 1.0
