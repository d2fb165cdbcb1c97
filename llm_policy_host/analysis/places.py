"""Where a config says a part of a policy: the path of what lowers to a term in normal form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.core.language import Identified

from .subject import bare_engine, schema_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llm_policy_host.core.language import Language
    from llm_policy_host.values import Plain

Path = tuple[str | int, ...]
"""Keys that lead to a value; the entries of a list count from 1."""

_OF_A_PROFILE: Final = 2
_GROUPS: Final = ("all_of", "any_of", "none_of")
_FILTER_WORDS: Final = ("scope_matches",)


class Places:
    """Finds parts of terms in the profiles and the envelope of one config."""

    def __init__(self, data: Mapping[str, Any], core: Mapping[str, Any], language: Language) -> None:
        self._data = data
        self._schema = schema_of(core)
        self._language = language
        self._operations = language.signature()
        self._known: dict[Path, list[tuple[Path, Plain]]] = {}

    def profile(self, name: str) -> Mapping[str, Any]:
        """Give a profile as it is written."""
        written = (self._data.get("profiles") or {}).get(name)
        return written if isinstance(written, dict) else {}

    def is_extended(self, name: str) -> bool:
        """Whether another profile inherits from it."""
        return any(self.profile(each).get("extends") == name for each in self._data.get("profiles") or ())

    def roots(self, name: str, key: str) -> list[Path]:
        """Say where a key of a profile is written: by itself, by those that it extends, or not at all."""
        names = [name]
        while (parent := self.profile(names[-1]).get("extends")) is not None:
            names.append(parent)
        written = [
            ("profiles", each, part)
            for part in ("policy_ir", key)
            for each in names
            if part in self.profile(each)
        ]
        return [*written, ("profiles", name)]

    def value(self, path: Path) -> Plain:
        """Give what is written at a path of keys."""
        value: Any = self._data
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        return value

    def find(self, roots: list[Path], term: Plain) -> Path:
        """Give the innermost path below some roots that says a term; else the first root."""
        for root in roots:
            is_written = len(root) != _OF_A_PROFILE
            paths = [path for path, said in self._parts(root) if said == term] if is_written else []
            if paths:
                return max(paths, key=len)
        return roots[0]

    def _parts(self, root: Path) -> list[tuple[Path, Plain]]:
        if root not in self._known:
            value = self.value(root)
            is_sugar = root[-1] in ("filter", "policy_envelope")
            terms = ((path, self._normal(part)) for path, part in self._terms(root, value))
            parts = [(path, term) for path, term in terms if term is not None]
            self._known[root] = [*parts, *(self._lowered(root, value) if is_sugar else ())]
        return self._known[root]

    # Terms ------------------------------------------------------------------------------------

    def _terms(self, path: Path, value: Plain) -> Iterator[tuple[Path, Plain]]:
        """Give every term that is written as one, in lists and records too."""
        if self._is_term(value):
            yield path, value
        if isinstance(value, list):
            for place, each in enumerate(value, 1):
                yield from self._terms((*path, place), each)
        elif isinstance(value, dict):
            for key, each in value.items():
                yield from self._terms((*path, key), each)

    def _is_term(self, value: Plain) -> bool:
        head = value[0] if isinstance(value, list) and value else None
        return isinstance(head, str) and head in self._operations

    def _normal(self, term: Plain) -> Plain:
        found = self._language.identify(term, self._schema)
        return found.term if isinstance(found, Identified) else None

    # The sugar of filters ---------------------------------------------------------------------

    def _lowered(self, root: Path, value: Plain) -> Iterator[tuple[Path, Plain]]:
        """Let the core lower each part of a filter as a filter of its own."""
        parts = [*self._filters(root, value)]
        profiles = {str(place): {"filter": part} for place, (_, part) in enumerate(parts)}
        declared = {key: value for key, value in self._schema.items() if key != "customs"}
        engine = bare_engine({**declared, "providers": {}, "models": {}, "profiles": profiles})
        for place, (path, _) in enumerate(parts):
            term = engine.profile_term(str(place))
            if term is not None:
                yield path, term[1]

    def _filters(self, path: Path, value: Plain) -> Iterator[tuple[Path, Plain]]:
        """Give every part of a filter that is a filter itself, terms' parts aside."""
        yield path, value
        if isinstance(value, list) and (not self._is_term(value) or value[0] in _FILTER_WORDS):
            for place, each in enumerate(value, 1):
                yield from self._filters((*path, place), each)
        elif isinstance(value, dict):
            for key, each in value.items():
                yield (*path, key), {key: each}
                yield from self._below((*path, key), key, each)

    def _below(self, path: Path, key: str, value: Plain) -> Iterator[tuple[Path, Plain]]:
        if key in _GROUPS:
            for place, each in enumerate(value, 1):
                yield from self._filters((*path, place), each)
        elif key.endswith("_in"):
            same = key.replace("_not_in", "_in")
            yield from (((*path, place), {same: [each]}) for place, each in enumerate(value, 1))
        elif key == "price_max":
            yield from (((*path, name), {key: {name: each}}) for name, each in value.items())
