"""Keys: what a chain of caveats grants, and that nothing else is a key."""

from __future__ import annotations

import base64
import hmac
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_policy_host.errors import UsageError
from llm_policy_host.ledger import keys
from llm_policy_host.ledger.caveats import CAVEATS, CONTENT_LEVELS, RIGHTS, written
from llm_policy_host.ledger.keys import Grant, Verifier, mint, narrow, peek, verify

from . import keys_oracle
from .keys_oracle import Ask

ROOT, OTHER = b"r" * 32, b"s" * 40
ID = "abcdefghij234567"
NAMES = ("alpha", "beta", "é/ß:1", "a b")
TIMES = st.integers(0, 20)
MOMENTS = ("expires_ms", "not_before_ms")


def _value(name: str) -> st.SearchStrategy[Any]:
    if name in MOMENTS:
        return TIMES
    if name == "content":
        return st.sampled_from(CONTENT_LEVELS)
    if CAVEATS[name].window is not None:
        return st.integers(0, 9)
    names = sorted(RIGHTS) if name == "rights" else NAMES
    return st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True).map(sorted)


CAVEAT = st.sampled_from(sorted(CAVEATS)).flatmap(lambda name: st.tuples(st.just(name), _value(name)))
ALIKE = st.sampled_from(sorted(CAVEATS)).flatmap(
    lambda name: st.lists(st.tuples(st.just(name), _value(name)), min_size=2, max_size=4)
)
CHAINS = st.one_of(st.lists(CAVEAT, max_size=4), ALIKE)
ASKS = st.builds(
    Ask,
    TIMES,
    *[st.sampled_from(NAMES)] * 4,
    st.sampled_from(sorted(RIGHTS)),
    st.sampled_from(CONTENT_LEVELS),
    st.sampled_from(NAMES),
)


def allowed(key: str | bytes, ask: Ask, roots: tuple[bytes, ...] = (ROOT,)) -> bool:
    grant = verify(key, roots, ask.now_ms, (), ask.audience)
    return (
        isinstance(grant, Grant)
        and ask.rights in grant.rights
        and CONTENT_LEVELS.index(ask.content) <= CONTENT_LEVELS.index(grant.content or "plain")
        and all(
            grant.allows(name, getattr(ask, name)) for name in ("models", "providers", "profiles", "policies")
        )
    )


def code(
    key: str | bytes, now_ms: int = 0, revoked: tuple[str, ...] = (), audience: str | None = None
) -> str | None:
    found = verify(key, (ROOT,), now_ms, revoked, audience)
    return found if isinstance(found, str) else None


@given(st.lists(st.sampled_from(sorted(RIGHTS)), min_size=1, unique=True), CHAINS, CHAINS)
def test_a_key_is_written_as_the_naive_second_implementation_writes_it(
    rights: list[str], first: Any, then: Any
) -> None:
    key = narrow(mint(ROOT, ID, rights, first), then)
    assert key == keys_oracle.write(ROOT, ID, [("rights", sorted(rights)), *first, *then])


@given(CHAINS, st.lists(ASKS, min_size=1, max_size=8))
def test_a_key_grants_what_each_of_its_caveats_allows(chain: Any, asks: list[Ask]) -> None:
    key = keys_oracle.write(ROOT, ID, chain)
    for ask in asks:
        assert allowed(key, ask) == keys_oracle.allows(chain, ask)


@given(CHAINS, CHAINS, st.lists(ASKS, min_size=1, max_size=8))
def test_a_narrowed_key_grants_the_intersection_and_never_more(
    chain: Any, more: Any, asks: list[Ask]
) -> None:
    key = mint(ROOT, ID, RIGHTS, chain)
    narrowed = narrow(key, more)
    for ask in asks:
        assert allowed(narrowed, ask) == (allowed(key, ask) and keys_oracle.allows(more, ask))


@pytest.mark.parametrize(
    ("name", "one", "other", "left"),
    [
        ("expires_ms", 5, 9, 5),
        ("not_before_ms", 5, 9, 9),
        ("content", "sealed", "digest", "digest"),
        *((name, 5, 9, 5) for name in ("usd_micro", "tokens", "calls", "calls_per_minute")),
        *(
            (name, ["a", "b"], ["b", "c"], {"b"})
            for name in ("models", "providers", "profiles", "policies", "audience")
        ),
        ("models", ["a"], ["b"], set()),
        ("rights", ["call", "embed"], ["embed", "flow"], {"embed"}),
    ],
)
def test_two_caveats_of_a_kind_leave_what_both_allow(name: str, one: Any, other: Any, left: Any) -> None:
    for chain in ([(name, one), (name, other)], [(name, other), (name, one)]):
        grant = peek(keys_oracle.write(ROOT, ID, chain))
        assert isinstance(grant, Grant)
        assert grant.caveats[name] == left


@given(CHAINS, CHAINS)
def test_a_narrowed_key_is_charged_to_every_budget_of_the_wider_one(chain: Any, more: Any) -> None:
    wide, narrowed = peek(mint(ROOT, ID, RIGHTS, chain)), peek(narrow(mint(ROOT, ID, RIGHTS, chain), more))
    assert isinstance(wide, Grant)
    assert isinstance(narrowed, Grant)
    assert narrowed.budgets[: len(wide.budgets)] == wide.budgets
    accounts = [budget.account for budget in narrowed.budgets]
    assert (
        len(set(accounts))
        == len(accounts)
        == sum(CAVEATS[name].window is not None for name, _ in chain + more)
    )


@pytest.mark.parametrize("model", ["a", "ab", "abc"])
def test_no_letter_of_a_key_can_be_another(model: str) -> None:
    """The lengths leave each number of unused bits in the last letter of the caveats."""
    key = mint(ROOT, ID, ["call"], [("models", [model])])
    assert code(key) is None
    for at, letter in enumerate(key):
        for other in string.ascii_letters + string.digits + "-_+/=. ":
            assert other == letter or code(key[:at] + other + key[at + 1 :]) is not None


@given(CHAINS, st.data())
def test_no_other_bytes_are_a_key(chain: Any, data: st.DataObject) -> None:
    key = mint(ROOT, ID, RIGHTS, chain).encode()
    at = data.draw(st.integers(0, len(key) - 1))
    changed = data.draw(
        st.sampled_from(
            [
                key[:at],
                key[at + 1 :],
                key[:at] + key[at + 1 :],
                key[:at] + key[at : at + 1] + key[at:],
                key[:at] + key[at + 1 : at + 2] + key[at : at + 1] + key[at + 2 :],
                *(key[:at] + bytes([byte]) + key[at + 1 :] for byte in b"AaQ_-.=+/ \n\x00\xff"),
                key + b"=",
                key + b"\n",
                b" " + key,
            ]
        )
    )
    if changed != key:
        assert code(changed) is not None


@given(CHAINS, CHAINS, st.data())
def test_who_holds_a_key_makes_no_chain_but_a_longer_one(chain: Any, other: Any, data: st.DataObject) -> None:
    """Reorder, drop, edit, truncate: with every signature that a holder can compute from his own."""
    held = [("rights", ["call"]), *chain]
    key = mint(ROOT, ID, ["call"], chain)
    signature = key.rpartition(".")[2]
    ways: list[Any] = [held[:-1], held[1:], [*held[1:], held[0]], held[::-1], [*other, *held], other, []]
    target = data.draw(st.sampled_from(ways))
    if target[: len(held)] == held:
        return
    raw = base64.urlsafe_b64decode(signature + "=")
    forged = [signature, _signed(raw, target), _signed(raw, target[-1:])]
    for each in (*forged, _signed(hmac.digest(raw, ID.encode(), "sha256"), target)):
        body = keys_oracle.write(OTHER, ID, target).rpartition(".")[0]
        assert code(f"{body}.{each}") == "bad_signature"


def _signed(start: bytes, chain: Any) -> str:
    for name, value in chain:
        start = hmac.digest(start, written(name, value), "sha256")
    return base64.urlsafe_b64encode(start).decode().rstrip("=")


@given(CHAINS, CHAINS)
def test_another_id_or_another_root_makes_another_key(chain: Any, more: Any) -> None:
    for genuine in (mint(ROOT, ID, RIGHTS, chain), narrow(mint(ROOT, ID, RIGHTS, chain), more)):
        assert verify(genuine, (OTHER,), 0, ()) == verify(genuine, (), 0, ()) == "bad_signature"
        assert code(genuine.replace(ID, ID[::-1])) == "bad_signature"


@given(CHAINS, CHAINS, TIMES)
def test_a_revoked_id_ends_all_that_derive_from_it(chain: Any, more: Any, now_ms: int) -> None:
    key = mint(ROOT, ID, RIGHTS, chain)
    for each in (key, narrow(key, more)):
        assert code(each, now_ms, (ID,)) == "revoked"


@given(CHAINS, st.lists(st.tuples(TIMES, st.booleans(), st.sampled_from((*NAMES, None))), min_size=1))
def test_a_verifier_that_remembers_says_what_one_says_that_does_not(chain: Any, times: Any) -> None:
    key = mint(ROOT, ID, RIGHTS, chain).encode()
    remembering = {audience: Verifier((OTHER, ROOT), audience, 2) for audience in (*NAMES, None)}
    for now_ms, is_revoked, audience in times:
        revoked = {ID} if is_revoked else set()
        found = remembering[audience](key, now_ms, revoked)
        assert found == verify(key, (OTHER, ROOT), now_ms, revoked, audience)


def test_a_verifier_remembers_no_more_than_it_may_and_no_guess() -> None:
    verifier = Verifier((ROOT,), size=3)
    for number in range(10):
        assert isinstance(verifier(mint(ROOT, f"k{number}", ["call"]).encode(), 0, ()), Grant)
        assert verifier(mint(OTHER, f"k{number}", ["call"]).encode(), 0, ()) == "bad_signature"
        assert len(verifier._seen) <= 3
    assert verifier(b"lpk_" + b"a" * 5000, 0, ()) == "too_long"


def test_time_ends_a_key_at_its_moment() -> None:
    key = mint(ROOT, ID, ["call"], [("not_before_ms", 5), ("expires_ms", 8)])
    assert [code(key, now) for now in (4, 5, 7, 8)] == ["not_yet", None, None, "expired"]


def test_a_key_for_somebody_is_refused_by_everybody_else() -> None:
    key = mint(ROOT, ID, ["call"], [("audience", ["east"])])
    assert code(key, audience="east") is None
    assert code(key, audience="west") == code(key) == "wrong_audience"


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=100).map(lambda tail: b"lpk_a." + tail)))
def test_no_bytes_break_the_check(given_bytes: bytes) -> None:
    assert isinstance(verify(given_bytes, (ROOT,), 0, ()), str)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'["color","red"]', "unknown_caveat"),
        (b'["Models",["a"]]', "unknown_caveat"),
        (b"[1,2]", "unknown_caveat"),
        (b'["models",[]]', "bad_caveat"),
        (b'["models",["b","a"]]', "bad_caveat"),
        (b'["models",["a","a"]]', "bad_caveat"),
        (b'["models",[1]]', "bad_caveat"),
        (b'["models","a"]', "bad_caveat"),
        (b'["models",[""]]', "bad_caveat"),
        (b'["models",["a\\u0000"]]', "bad_caveat"),
        (b'["models",["' + b"a" * 257 + b'"]]', "bad_caveat"),
        (b'["models", ["a"]]', "bad_caveat"),
        (b'["models",["\\u0061"]]', "bad_caveat"),
        (b'["rights",["everything"]]', "bad_caveat"),
        (b'["content","all"]', "bad_caveat"),
        (b'["calls",-1]', "bad_caveat"),
        (b'["calls",1.0]', "bad_caveat"),
        (b'["calls",true]', "bad_caveat"),
        (b'["calls",null]', "bad_caveat"),
        (b'["calls",9007199254740992]', "bad_caveat"),
        (b'["calls",123456789012345678901234567890]', "bad_caveat"),
        (b'["calls"]', "bad_caveat"),
        (b'["calls",1,2]', "bad_caveat"),
        (b'{"calls":1,"x":2}', "bad_caveat"),
        (b'{"content":1,"none":2}', "bad_caveat"),
        (b'"ab"', "unknown_caveat"),
        (b"[" * 1500, "bad_caveat"),
        (b"\xff\xfe", "bad_caveat"),
        (b"", "bad_caveat"),
    ],
)
def test_a_caveat_that_is_none_is_refused_although_it_is_signed(line: bytes, expected: str) -> None:
    lines = [b'["calls",1]', line]
    signature = hmac.digest(ROOT, ID.encode(), "sha256")
    for each in lines:
        signature = hmac.digest(signature, each, "sha256")
    body, text = (
        base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (b"\n".join(lines), signature)
    )
    assert code(f"lpk_{ID}.{body}.{text}") == expected


def test_a_key_is_bounded_in_length_and_number() -> None:
    key = mint(ROOT, ID, ["call"], [("expires_ms", 9)] * (keys.MAX_CAVEATS - 1))
    assert code(key) is None
    assert (
        code(keys_oracle.write(ROOT, ID, [("expires_ms", 9)] * (keys.MAX_CAVEATS + 1))) == "too_many_caveats"
    )
    assert code(keys_oracle.write(ROOT, ID, [("calls", 9)] * (keys.MAX_BUDGETS + 1))) == "too_many_caveats"
    assert code("lpk_" + "a" * keys.MAX_BYTES) == "too_long"
    assert code("lpk_" + "a" * 65 + "." + key.split(".", 1)[1]) == "malformed"
    with pytest.raises(UsageError, match="too_many_caveats"):
        narrow(key, [("calls", 1)])
    with pytest.raises(UsageError, match="too_long"):
        narrow(key, [("models", [f"{number}" + "m" * 200 for number in range(40)])])


@pytest.mark.parametrize(
    ("caveat", "words"),
    [
        (("modles", ["a"]), r"unknown caveat `modles` \(did you mean `models`\?\)"),
        (("rights", ["cal"]), "rights: must be a list of `admin` `approve`"),
        (("usd_micro", 1.5), "usd_micro: must be a whole number"),
    ],
)
def test_a_caveat_that_cannot_be_is_refused_before_it_is_written(caveat: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        narrow(mint(ROOT, ID, ["call"]), [caveat])


def test_a_root_that_could_be_guessed_and_an_id_that_is_none_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 32"):
        mint(b"short", ID, ["call"])
    with pytest.raises(UsageError, match="malformed"):
        mint(ROOT, "a.b", ["call"])


def test_ids_are_new_each_time_and_a_grant_shows_no_signature() -> None:
    ids = {keys.make_key_id() for _ in range(100)}
    assert len(ids) == 100
    assert {len(each) for each in ids} == {16}
    key = mint(ROOT, ID, ["call"])
    assert key.rpartition(".")[2] not in repr(peek(key))
    assert keys.root_digest(ROOT) != keys.root_digest(OTHER)
