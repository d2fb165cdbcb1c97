"""Whatever is offered where an operation may stand, the loader takes: of the signature, at any place of any term."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsprotocol.types import CompletionList, Position, Range, TextEdit

from llm_policy_host.config.cursor import find_cursor
from llm_policy_host.config.yaml_file import parse_yaml
from llm_policy_host.core.grammar import grammar_of
from llm_policy_host.core.language import Identified, Language
from llm_policy_host.core.vm import Vm
from llm_policy_host.lsp.checking import Checked
from llm_policy_host.lsp.neighbours import Neighbour
from llm_policy_host.lsp.reader import Asked, Reader
from llm_policy_host.lsp.text import Text
from tests.property.strategies import generators

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.property.generator import Generator

SORTS = ("Policy", "Pred", "Scorer", "Selector", "Xform", "FailPlan")
HOLE = "a-hole-to-be-filled"


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader()


@pytest.fixture(scope="module")
def language() -> Language:
    return Language(Vm())


def _holes(term: Any, language: Language, path: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """Give the path of every term in a term."""
    yield path
    operation = language.signature()[term[0]]
    for place, part in enumerate(term[1:], 1):
        if operation.is_term(place):
            yield from _holes(part, language, (*path, place))


def _with(term: Any, path: tuple[int, ...], part: Any) -> Any:
    if not path:
        return part
    return [_with(each, path[1:], part) if place == path[0] else each for place, each in enumerate(term)]


def _at(term: Any, path: tuple[int, ...]) -> Any:
    for place in path:
        term = term[place]
    return term


def _offered(reader: Reader, text: str, offset: int, schema: dict[str, Any]) -> dict[str, str]:
    beside, own = Neighbour(Path("policy.yaml"), json.dumps(schema)), Text(text)
    asked = Asked("file:///t.json", Path("policy.json"), own, own.position(offset), beside)
    found = reader.complete(asked, Checked())
    assert isinstance(found, CompletionList)
    return {
        item.label: item.text_edit.new_text for item in found.items if isinstance(item.text_edit, TextEdit)
    }


@given(generator=generators(), sort=st.sampled_from(SORTS), data=st.data())
@settings(max_examples=60, deadline=None)
def test_terms_and_operations_that_are_offered_are_admitted(
    reader: Reader, language: Language, generator: Generator, sort: str, data: st.DataObject
) -> None:
    term = generator.term(sort, 3)
    path = data.draw(st.sampled_from([*_holes(term, language)]))
    before, after = json.dumps(_with(term, path, HOLE), ensure_ascii=False).split(json.dumps(HOLE))
    own = language.signature()[_at(term, path)[0]]
    offered = _offered(reader, before + after, len(before), generator.schema)
    if path:
        assert f"[{_at(term, path)[0]}]" in offered
    for label, new in offered.items():
        answer = language.identify_json((before + new + after).encode(), generator.schema)
        assert isinstance(answer, Identified), (before + new + after, answer)
        assert not path or language.signature()[label[1:-1]].sort == own.sort
    # the first word of a list: the same operations, without arguments
    heads = _offered(reader, f'{before}["{after}', len(before) + 2, generator.schema)
    assert offered.keys() <= {f"[{head}]" for head in heads}
    assert not path or len(heads) == len(offered)


def test_every_operation_is_offered_where_its_sort_is_wanted(reader: Reader) -> None:
    grammar = grammar_of(Vm())
    for sort in SORTS:
        op, place = next(
            (
                (op, place)
                for op, row in grammar.rows.items()
                for place, each in enumerate(row.args, 1)
                if each == sort
            ),
            ("", 0),
        )
        if not op:
            continue
        before = ", ".join(["0"] * (place - 1))
        text = f'["{op}", {before}{", " if before else ""}["'
        heads = _offered(reader, text, len(text), {"customs": {"own": {}}})
        assert set(heads) == {op for op, row in grammar.rows.items() if row.sort == sort}


# Positions and paths -----------------------------------------------------------------------------

CHARACTERS = st.text(st.sampled_from("ab :[]{},'\"#\n\r\t\u2028\x85é\U0001f600\x00\ud800"), max_size=60)


@given(CHARACTERS, st.sampled_from(["utf-8", "utf-16", "utf-32"]), st.data())
def test_positions_and_offsets_are_each_others_inverse(text: str, encoding: str, data: st.DataObject) -> None:
    own = Text(text, encoding)
    offset = data.draw(st.integers(0, len(text)))
    is_within_a_break = text[offset - 1 : offset + 1] == "\r\n"
    back = own.offset(own.position(offset))
    assert back == (offset - 1 if is_within_a_break else offset)
    assert (
        0 <= own.offset(Position(data.draw(st.integers(0, 70)), data.draw(st.integers(0, 70)))) <= len(text)
    )


@given(CHARACTERS, st.data())
def test_a_cursor_is_found_or_not_whatever_the_text(text: str, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, len(text)))
    found = find_cursor(text, offset)
    assert found is None or found.start <= offset <= found.end


def test_every_scalar_of_a_config_is_found_at_its_path() -> None:
    text = (Path(__file__).parents[1] / "analysis" / "warnings.yaml").read_text()
    document = parse_yaml(text, "warnings.yaml")
    assert document.problems == []
    own, seen = Text(text), 0
    for path, (line, column) in _scalars(document.data, document.root):
        where = own.range_at(line, column)
        assert isinstance(where, Range)
        cursor = find_cursor(text, own.offset(where.start))
        if cursor is not None:
            assert cursor.at == path
            seen += 1
    assert seen > 100


def _scalars(value: Any, place: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _scalars(each, place.parts[key], (*path, key))
    elif isinstance(value, list):
        for number, each in enumerate(value, 1):
            yield from _scalars(each, place.parts[number], (*path, number))
    elif path:
        yield path, place.position
