"""OpenRouter's requests and presets, as JSON, as a config of ours.

Each request is a profile, whoever it names a model; OpenRouter itself is the one provider. What a
request says about the hosts behind OpenRouter has no meaning before there are routes to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.errors import UsageError
from llm_policy_host.run.attempt import NUMBER_PARAMS

from .imported import (
    CHEAPEST,
    FASTEST,
    PROMPTEST,
    Imported,
    failures,
    is_name,
    is_number,
    preferring,
    word,
)
from .vendors import VENDORS

if TYPE_CHECKING:
    from collections.abc import Mapping

_SORTS: Final[Mapping[str, list[Any]]] = {"price": CHEAPEST, "throughput": FASTEST, "latency": PROMPTEST}
_SUFFIXES = {"floor": "price", "nitro": "throughput"}
_PARAMS = (*NUMBER_PARAMS, "verbosity")
_CEILINGS = {"prompt": "input", "completion": "output"}
_OF_CALLS = frozenset({"messages", "prompt", "stream", "user", "session_id", "name", "slug", "id", "route"})
_HOSTS = "hosts behind OpenRouter are no providers here: add routes to them first, then prefer those"
_UNSEEN = "nothing is known of hosts behind OpenRouter: mark providers `no_log`, and filter by it"
_BEHIND: Final[Mapping[str, str]] = {
    "order": _HOSTS,
    "only": _HOSTS,
    "ignore": _HOSTS,
    "quantizations": _HOSTS,
    "require_parameters": "`requirements` asks for tools, vision and JSON where a call uses them",
    "zdr": _UNSEEN,
    "data_collection": _UNSEEN,
}
_MAX_FAMILIES = 16


def import_openrouter(data: Any) -> Imported:  # noqa: ANN401 - as the file has it
    """Make a config of a request, of a list of them, or of presets."""
    requests = _requests(data)
    if not requests:
        raise UsageError("this is no request of OpenRouter's, and no presets: it names no model")
    out = Imported()
    vendor = VENDORS["openrouter"]
    out.providers["openrouter"] = {"base_url": vendor.base_url, "auth_env": vendor.key}
    out.parts["retry_policies"] = {"imported": failures()}
    for path, name, request in requests:
        _Request(out, path, request).convert(_free(out, name))
    if not out.profiles:
        raise UsageError("no request of this file can be converted")
    out.parts["defaults"] = {"profile": next(iter(out.profiles))}
    out.change("models", "tools, vision and JSON are taken to be supported: the file does not say")
    return out


def _requests(data: Any) -> list[tuple[str, str, Mapping[str, Any]]]:  # noqa: ANN401 - as the file has it
    """Find the requests, each with its path and a name for its profile."""
    if isinstance(data, dict) and isinstance(data.get("presets", data.get("data")), list):
        data = data.get("presets", data.get("data"))
    if isinstance(data, dict):
        return [("", "default", data)] if _names_models(data) else []
    found: list[tuple[str, str, Mapping[str, Any]]] = []
    for index, entry in enumerate(data if isinstance(data, list) else []):
        if not isinstance(entry, dict):
            continue
        inner = entry.get("config", entry.get("designated_version"))
        request = {**entry, **inner} if isinstance(inner, dict) else entry
        name = entry.get("slug") or entry.get("name") or f"request-{index + 1}"
        if _names_models(request):
            found.append((f"[{index}].", word(str(name)), request))
    return found


def _names_models(request: Mapping[str, Any]) -> bool:
    return bool(request.get("model") or request.get("models"))


def _free(out: Imported, name: str) -> str:
    taken = out.profiles
    return (
        name
        if name not in taken
        else next(f"{name}-{n}" for n in range(2, len(taken) + 3) if f"{name}-{n}" not in taken)
    )


class _Request:
    """One request on its way to a profile."""

    def __init__(self, out: Imported, path: str, request: Mapping[str, Any]) -> None:
        self._out = out
        self._path = path
        self._request = request
        self._sort: str | None = None
        self._filter: list[Any] = ["requirements", "not_disabled"]
        self._mutate: list[Any] = []

    def convert(self, name: str) -> None:
        """Make the profile, and the families that it names."""
        families = self._families()
        if not families:
            self._out.lose(f"{self._path}model", "no model's name")
            return
        for family in families:
            self._out.models.setdefault(family, {"served_by": [self._route(family)]})
        self._filter.append({"family_in": families})
        self._preferences()
        self._parameters()
        profile: dict[str, Any] = {"filter": self._filter}
        if self._sort is not None:
            profile["scorer"] = _SORTS[self._sort]
        profile["selector"] = preferring([["family_eq", family] for family in families[:-1]], ["argmax"])
        if self._mutate:
            profile["mutate"] = self._mutate
        profile["retry_policy"] = "imported"
        self._out.profiles[name] = profile

    def _families(self) -> list[str]:
        listed = self._request.get("models")
        given = [self._request.get("model"), *(listed if isinstance(listed, list) else [])]
        families: list[str] = []
        for name in given:
            if not is_name(name):
                continue
            family, colon, suffix = str(name).rpartition(":")
            if colon and suffix in _SUFFIXES:
                self._sort = _SUFFIXES[suffix]
            else:
                family = str(name)
            if family not in families:
                families.append(family)
        for family in families[_MAX_FAMILIES:]:
            self._out.lose(f"{self._path}models", f"`{family}` is one too many")
        return families[:_MAX_FAMILIES]

    @staticmethod
    def _route(family: str) -> dict[str, Any]:
        supported = ("supports_tools", "supports_vision", "supports_json_mode", "supports_seed")
        return {
            "provider": "openrouter",
            "provider_model_id": family,
            "capabilities": dict.fromkeys(supported, True),
        }

    def _preferences(self) -> None:
        wishes = self._request.get("provider")
        if wishes is not None and not isinstance(wishes, dict):
            self._out.lose(f"{self._path}provider", "no record")
            return
        for key, value in (wishes or {}).items():
            path = f"{self._path}provider.{key}"
            if value is None or value is False or (key, value) == ("data_collection", "allow"):
                continue
            if key == "sort" and str(value) in _SORTS:
                self._sort = value
            elif key == "max_price" and isinstance(value, dict):
                self._ceilings(path, value)
            elif key == "allow_fallbacks" and value is True:
                continue
            else:
                self._out.lose(path, _BEHIND.get(key, "nothing here does this"))

    def _ceilings(self, path: str, given: Mapping[str, Any]) -> None:
        ceilings = {}
        for key, price in given.items():
            number = _number(price)
            if key in _CEILINGS and number is not None:
                ceilings[_CEILINGS[key]] = number
            else:
                self._out.lose(f"{path}.{key}", "only prices per token in and out are observed")
        if ceilings:
            self._filter.append({"price_max": ceilings})
            self._out.change(path, "a route whose price is not known is refused")

    def _parameters(self) -> None:
        known = {}
        for key, value in self._request.items():
            is_scalar = isinstance(value, int | float | str) and not isinstance(value, bool)
            if key in _PARAMS and is_scalar:
                known[key] = value
            elif key == "reasoning" and isinstance(value, dict) and isinstance(value.get("effort"), str):
                known["reasoning_effort"] = value["effort"]
            elif key not in _OF_CALLS and key not in ("model", "models", "provider", "config") and value:
                self._lose(key)
        if known:
            self._mutate.append({"set_param": known})
            detail = "set for every call of the profile, also where a caller says otherwise"
            self._out.change(f"{self._path}{'|'.join(known)}", detail)

    def _lose(self, key: str) -> None:
        if key != "designated_version":
            self._out.lose(f"{self._path}{key}", "it belongs to a call, or to OpenRouter itself")


def _number(value: Any) -> float | None:  # noqa: ANN401 - as the file has it
    try:
        number = float(value) if isinstance(value, str) else value
    except ValueError:
        return None
    return number if is_number(number) else None
