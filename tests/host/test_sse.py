from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llm_policy_host.providers import _sse
from llm_policy_host.providers._sse import Event, SseParser


def _all(*pieces: bytes) -> list[Event]:
    parser = SseParser()
    return [event for piece in pieces for event in parser.feed(piece)]


def test_lines_end_by_lf_cr_or_crlf() -> None:
    assert [event.data for event in _all(b"data: a\n\ndata: b\r\rdata: c\r\n\r\n")] == ["a", "b", "c"]


def test_a_crlf_cut_in_half_is_one_line_end() -> None:
    assert [event.data for event in _all(b"data: a\r", b"\ndata: b\r", b"\n\r", b"\n")] == ["a\nb"]


def test_data_lines_join_and_one_space_is_dropped() -> None:
    assert _all(b"event: x\ndata:a\ndata:  b\ndata\n\n") == [Event("a\n b\n", "x")]


def test_a_name_and_data_that_come_apart_are_one_event() -> None:
    assert _all(b"event: x\n", b"data: a\n\n") == [Event("a", "x")]
    assert _all(b"data\n", b"data: a\n\n") == [Event("\na")]
    assert _all(b"data: a\n", b"data: b\n\n") == _all(b"data: a\ndata: b\n\n") == [Event("a\nb")]


def test_comments_ids_and_empty_events_dispatch_nothing() -> None:
    parser = SseParser()
    assert parser.feed(b": ping\n\nid: 3\nretry: 5\n\nevent: x\n\n") == []
    assert parser.bad_lines == 0


def test_a_byte_order_mark_is_dropped_and_bad_utf8_replaced() -> None:
    assert [event.data for event in _all(b"\xef\xbb\xbfdata: \xff\n\n")] == ["\ufffd"]


def test_an_event_without_its_blank_line_is_not_dispatched() -> None:
    assert _all(b"data: a\n") == []


def test_a_bad_line_is_skipped_and_counted() -> None:
    parser = SseParser()
    assert [event.data for event in parser.feed(b"nonsense\ndata: a\n\n")] == ["a"]
    assert parser.bad_lines == 1


def test_a_line_without_end_is_dropped_in_bounded_memory() -> None:
    parser = SseParser()
    for _ in range(20):
        assert parser.feed(b"x" * (_sse.MAX_EVENT_BYTES // 10)) == []
    assert sum(map(len, parser._pieces)) <= _sse.MAX_EVENT_BYTES
    assert [event.data for event in parser.feed(b"\ndata: a\n\n")] == ["a"]
    assert parser.bad_lines == 1


_WHOLE = [
    b"data: a\n\n",
    b"data:  b\n\n",
    b"event: e\ndata: c\n\n",
    b"event: \ndata: \xff\n\n",
    b"data: \n\n",
]


@given(
    st.lists(
        st.sampled_from(
            [b"data: a", b"data", b"\n", b"\r", b"\r\n", b": c", b"event: e", b" ", b"\n\n", *_WHOLE]
        )
    ),
    st.data(),
)
def test_events_do_not_depend_on_how_the_bytes_are_cut(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)))))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert _all(*pieces) == _all(whole)
