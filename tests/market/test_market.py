"""The snapshot: who is in it, when it is another one, and that nobody waits for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from llm_policy_host.clock import VirtualClock
from llm_policy_host.market.peers import PeerHealth

from .feed import Script, attempt, market, offer, peers, source, told

if TYPE_CHECKING:
    from llm_policy_host.market.market import Market


async def made(clock: VirtualClock, *offers: Any, most: int | None = None, **plan: Any) -> Market:
    feed = source(clock, **plan)
    await feed.poll(Script([told(list(offers))]))
    return market(clock, feed, most={} if most is None else {"feed": most})


async def test_several_peers_of_a_family_are_each_an_offer_in_one_order() -> None:
    offers = [offer("b", price=1), offer("a", price=2), offer("a", "n", price=3)]
    there, back = await made(VirtualClock(), *offers), await made(VirtualClock(), *reversed(offers))
    assert there.offers() == back.offers()
    assert [(one["model_family"], one["peer_id"]) for one in there.offers()["d"]] == [
        ("m", "a"),
        ("m", "b"),
        ("n", "a"),
    ]


async def test_a_snapshot_is_the_same_object_until_its_content_changes() -> None:
    clock = VirtualClock()
    feed = source(clock)
    whole = market(clock, feed)
    await feed.poll(Script([told([offer()])]))
    first = whole.offers()
    await feed.poll(Script([told([offer()])]))
    clock.advance(1_000)
    assert whole.offers() is first
    await feed.poll(Script([told([offer(price=2)])]))
    assert whole.offers() is not first
    assert whole.offers()["d"][0]["price_in_usd_per_mtok"] == 2
    second = whole.offers()
    for _ in range(3):
        whole.note(attempt("a peer that offers nothing", "timeout"))
    assert whole.offers() is second


async def test_an_offer_that_ends_between_two_polls_is_gone_and_counted() -> None:
    clock = VirtualClock(1_000)
    whole = await made(clock, offer("a", expires_at_ms=5_000), offer("b"))
    assert peers(whole) == ["a", "b"]
    clock.advance(3_999)
    assert peers(whole) == ["a", "b"]
    clock.advance(1)
    assert peers(whole) == ["b"]
    assert whole.status()["feed"]["dropped"] == {"expired": 1}


async def test_the_cheapest_are_kept_where_there_are_too_many_and_an_unknown_price_is_the_dearest() -> None:
    both: dict[str, Any] = {"price_out_usd_per_mtok": 1}
    offers = [
        offer("dear", price=9, **both),
        offer("unknown"),
        offer("cheap", price=1, **both),
        offer("n", "n", **both),
    ]
    whole = await made(VirtualClock(), *offers, most=2)
    assert (peers(whole), peers(whole, "n")) == (["cheap", "dear"], ["n"])


async def test_health_is_applied_before_the_cut() -> None:
    both: dict[str, Any] = {"price_out_usd_per_mtok": 1}
    whole = await made(VirtualClock(), *(offer(f"p{i}", price=i, **both) for i in range(4)), most=2)
    assert peers(whole) == ["p0", "p1"]
    for _ in range(3):
        whole.note(attempt("p0", "server_error"))
    assert peers(whole) == ["p1", "p2"]
    assert whole.status()["feed"]["set_aside"] == 1


async def test_a_peer_that_was_set_aside_is_probed_again_and_a_fault_more_sets_it_aside_again() -> None:
    clock = VirtualClock()
    whole = await made(clock, offer("a"), offer("b"), ttl_ms=10_000_000)
    for _ in range(3):
        whole.note(attempt("a", "timeout"))
    assert peers(whole) == ["b"]
    clock.advance(300_000)
    assert peers(whole) == ["a", "b"]
    whole.note(attempt("a", "timeout"))
    assert peers(whole) == ["b"]
    clock.advance(300_000)
    whole.note(attempt("a"))
    whole.note(attempt("a", "timeout"))
    assert peers(whole) == ["a", "b"]


async def test_rate_limits_set_aside_for_less_long() -> None:
    clock = VirtualClock()
    whole = await made(clock, offer("a"), offer("b"))
    for _ in range(3):
        whole.note(attempt("a", "rate_limit"))
    clock.advance(29_999)
    assert peers(whole) == ["b"]
    clock.advance(1)
    assert peers(whole) == ["a", "b"]


async def test_faults_of_callers_and_of_nobody_and_direct_routes_set_nobody_aside() -> None:
    whole = await made(VirtualClock(), offer("a"), offer("b"))
    before = whole.offers()
    kinds = (
        "bad_request",
        "content_filter",
        "context_overflow",
        "empty_completion",
        "stream_interrupted",
        "cancelled",
    )
    for kind in kinds * 3:
        whole.note(attempt("a", kind))
    for _ in range(3):
        whole.note(attempt("bazaar", "timeout"))
        whole.note(attempt("a", "timeout", is_callers_fault=True))
        whole.note(attempt("a", "timeout", provider_id="direct"))
    assert whole.offers() is before


async def test_where_no_peer_is_healthy_all_stay_for_the_policy_to_decide() -> None:
    whole = await made(VirtualClock(), offer("a"), offer("b"))
    for peer in ("a", "b"):
        for _ in range(3):
            whole.note(attempt(peer, "server_error"))
    assert peers(whole) == ["a", "b"]


async def test_the_health_of_peers_is_bounded() -> None:
    health = PeerHealth()
    for number in range(10_000):
        health.note(("d", "m", str(number)), attempt("x", "timeout"), 0)
    assert len(health._breakers) <= 4096


async def test_two_sources_of_one_market_are_one_list_and_a_peer_in_both_counts_once() -> None:
    clock = VirtualClock()
    first, second = source(clock, "first"), source(clock, "second")
    await first.poll(Script([told([offer("a", price=1)])]))
    await second.poll(Script([told([offer("a", price=2), offer("b")])]))
    whole = market(clock, first, second)
    assert [(one["peer_id"], one["price_in_usd_per_mtok"]) for one in whole.offers()["d"]] == [
        ("a", 1),
        ("b", 1),
    ]


# Polling -----------------------------------------------------------------------------------------


async def test_sources_are_polled_in_the_background_after_a_first_round_that_is_waited_for() -> None:
    clock = VirtualClock()
    script = Script([told([offer(price=1)]), told([offer(price=2)])])
    whole = market(clock, source(clock))
    await whole.attend(script)
    assert (peers(whole), len(script.asked)) == (["peer-1"], 1)
    await clock.sleep_ms(61_000)
    assert whole.offers()["d"][0]["price_in_usd_per_mtok"] == 2
    await whole.close()
    await clock.sleep_ms(600_000)
    assert len(script.asked) == 2


async def test_attending_twice_polls_once_and_a_first_round_that_fails_ends_too() -> None:
    clock = VirtualClock()
    script = Script([OSError()])
    whole = market(clock, source(clock))
    await asyncio.gather(whole.attend(script), whole.attend(script))
    assert (len(script.asked), peers(whole)) == (1, [])
    await whole.close()
    await whole.close()


async def test_a_slow_source_holds_up_no_other() -> None:
    clock = VirtualClock()

    async def slow() -> Any:
        await clock.sleep_ms(4_000)
        return told([offer("late")])

    quick, late = source(clock, "quick", every_ms=1_000), source(clock, "late")
    whole = market(clock, quick, late)

    class Both:
        def __init__(self) -> None:
            self.asked = 0

        async def fetch(self, *_: Any) -> Any:
            self.asked += 1
            return await slow() if self.asked == 2 else told([offer("early")])

    both = Both()
    await whole.attend(both)
    assert (both.asked, peers(whole)) == (5, ["early", "late"])
    await whole.close()


def test_a_market_goes_on_in_another_loop_when_its_first_is_gone() -> None:
    clock = VirtualClock()
    script = Script([told([offer()])])
    whole = market(clock, source(clock))
    asyncio.run(whole.attend(script))
    asyncio.run(whole.attend(script))
    assert len(script.asked) == 2


async def test_a_market_without_sources_starts_nothing() -> None:
    whole = market(VirtualClock())
    await whole.attend(Script([]))
    assert (whole.offers(), whole.status()) == ({}, {})
    assert len(asyncio.all_tasks()) == 1
