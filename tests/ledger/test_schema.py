"""Every field has a type and a bound; what is unknown is refused with the nearest name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_policy_host.errors import LedgerError
from llm_policy_host.ledger.chain import Chain
from llm_policy_host.ledger.kinds import MOST, Field, expression, is_name
from llm_policy_host.ledger.schema import AUTHORITIES, ENDED, KEYS, PARTS, ROWS, TYPES, Type, _fault, refusal

from .drafts import BY, CORES, HEX, KEYED, OBS, REFS, draft

FIELDS = [(name, part, key) for name, of in TYPES.items() for part in PARTS for key in of.fields[part]]
JUNK: tuple[Any, ...] = (
    True,
    -1,
    2**53,
    1.0,
    1.5,
    "",
    "x" * 257,
    "two\nlines",
    "\x00",
    "\ud800",
    [],
    ["a"] * 2000,
    [1],
    {},
    {"x": 1},
)


def parts_of(kind: str) -> dict[str, dict[str, Any]]:
    return {"core": CORES.get(kind, {}), "obs": OBS.get(kind, {}), "refs": REFS.get(kind, {})}


def is_good(of: Type, parts: dict[str, dict[str, Any]]) -> bool:
    return of.is_good(parts["core"], parts["obs"], parts["refs"])


def refused(of: Type, parts: dict[str, dict[str, Any]]) -> LedgerError:
    return refusal(of, parts["core"], parts["obs"], parts["refs"])


def test_the_samples_are_good_and_of_every_type() -> None:
    assert CORES.keys() == ROWS.keys()
    for name, of in TYPES.items():
        assert is_good(of, parts_of(name))
        assert BY.get(name, "host") in of.by


def test_the_table_holds_together() -> None:
    places = {row.leads_to for row in ROWS.values() if row.leads_to} - {ENDED}
    assert places == {place for row in ROWS.values() for place in row.follows or ()}
    assert {by for row in ROWS.values() for by in row.by} <= set(AUTHORITIES)
    # a field with the name of a line's key could stand before the key that the hash is found by
    assert not {key for _, _, key in FIELDS} & (set(KEYS) - {"core", "obs", "refs", "parent"})
    assert [*KEYS] == sorted(KEYS)


@pytest.mark.parametrize(("kind", "part", "key"), FIELDS)
def test_a_field_refuses_what_is_not_of_its_kind(kind: str, part: str, key: str) -> None:
    field = TYPES[kind].fields[part][key]
    count = 0
    for junk in JUNK:
        parts = parts_of(kind)
        parts[part] = {**parts[part], key: junk}
        if is_good(TYPES[kind], parts):
            continue
        count += 1
        assert refused(TYPES[kind], parts).path.startswith(f"{part}.{key}")
    assert count >= 11, field.kind.words


@pytest.mark.parametrize(
    ("kind", "part", "key"),
    [each for each in FIELDS if not TYPES[each[0]].fields[each[1]][each[2]].is_optional],
)
def test_a_field_that_is_needed_may_be_neither_absent_nor_null(kind: str, part: str, key: str) -> None:
    for parts in (parts_of(kind), parts_of(kind)):
        left = {name: value for name, value in parts[part].items() if name != key}
        for changed in (left, {**left, key: None}):
            parts[part] = changed
            assert not is_good(TYPES[kind], parts)
            error = refused(TYPES[kind], parts)
            assert (error.path, error.code) == (f"{part}.{key}", "schema")


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("kind", ROWS)
def test_an_unknown_field_is_refused(kind: str, part: str) -> None:
    with pytest.raises(LedgerError, match=rf"^{part}.prompt: unknown field") as caught:
        Chain().accept(draft(kind, None, **{part: {"prompt": "the words of somebody"}}), 0)
    assert "somebody" not in str(caught.value)


def test_the_nearest_name_is_told() -> None:
    with pytest.raises(LedgerError, match=r"core.attemp: unknown field \(did you mean `attempt`\?\)"):
        Chain().accept(draft("AttemptProposed", 1, core={"attemp": 1}), 0)
    with pytest.raises(
        LedgerError, match=r"obs.settled.usd_mikro: unknown field \(did you mean `usd_micro`\?\)"
    ):
        Chain().accept(draft("AttemptOutcome", 1, obs={"settled": {"usd_mikro": 1}}), 0)
    with pytest.raises(LedgerError, match=r"no event type `RunComplete` \(did you mean `RunCompleted`\?\)"):
        Chain().accept(draft("RunCompleted", 1)._replace(type="RunComplete"), 0)


def test_bounds_are_where_the_table_says() -> None:
    for good, bad in ((MOST, MOST + 1), (0, -1)):
        Chain().accept(draft("HostStarted", core={"epoch": good}), 0)
        with pytest.raises(LedgerError, match="epoch"):
            Chain().accept(draft("HostStarted", core={"epoch": bad}), 0)
    Chain().accept(draft("HostStarted", core={"version": "ü" * 256}), 0)
    with pytest.raises(LedgerError, match=r"core.version: must be a name of at most 256 characters"):
        Chain().accept(draft("HostStarted", core={"version": "ü" * 257}), 0)
    for digest in (HEX.upper(), HEX[:-1], HEX + "0", KEYED, "g" * 64):
        assert not TYPES["KeyMinted"].is_good({**CORES["KeyMinted"], "root_digest": digest}, {}, {})


@given(st.text())
def test_a_printable_text_is_a_name_whatever_the_version_of_unicode(text: str) -> None:
    assert is_name(text) or not text.isprintable()
    assert is_name(text + "a") == is_name(text)


def plain() -> st.SearchStrategy[Any]:
    leaf = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just(HEX))
    return st.recursive(
        leaf,
        lambda each: st.one_of(
            st.lists(each, max_size=3), st.dictionaries(st.text(max_size=3), each, max_size=3)
        ),
        max_leaves=5,
    )


@given(st.sampled_from(FIELDS), plain(), st.booleans())
def test_the_compiled_test_and_the_slow_walk_agree(
    at: tuple[str, str, str],
    value: Any,
    is_inside: bool,  # noqa: FBT001
) -> None:
    kind, part, key = at
    parts = parts_of(kind)
    field: Field = TYPES[kind].fields[part][key]
    if is_inside and field.kind.parts:
        value = {next(iter(field.kind.parts)): value}
    parts[part] = {**parts[part], key: value}
    is_bad = any(_fault(parts[each], TYPES[kind].fields[each], each) for each in PARTS)
    assert is_good(TYPES[kind], parts) is not is_bad
    assert (field.is_optional if value is None else expression(field.kind)(value)) is not is_bad
