from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from typing import Any

import pytest

from llm_policy_host import values
from llm_policy_host.quick import quick


@quick
@dataclass(frozen=True, slots=True)
class Example:
    name: str
    count: int = 3
    items: list[int] = field(default_factory=list)


def test_a_quick_class_is_made_by_place_by_name_and_by_default() -> None:
    made = Example("a", items=[1])
    assert (made.name, made.count, made.items) == ("a", 3, [1])
    assert type(made) is Example
    assert repr(made) == "Example(name='a', count=3, items=[1])"


def test_each_has_a_default_of_its_own() -> None:
    assert Example("a").items is not Example("a").items


def test_it_stays_frozen_and_has_no_room_for_more() -> None:
    with pytest.raises(FrozenInstanceError):
        Example("a").count = 4  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        object.__setattr__(Example("a"), "other", 1)


def test_a_missing_or_unknown_argument_is_refused() -> None:
    unchecked: Any = Example
    with pytest.raises(TypeError, match="name"):
        unchecked()
    with pytest.raises(TypeError, match="other"):
        unchecked("a", other=1)


def test_copies_are_equal_and_replacing_changes_one_field() -> None:
    made = Example("a", 4, [1])
    assert copy.copy(made) == copy.deepcopy(made) == pickle.loads(pickle.dumps(made)) == made  # noqa: S301 - our own bytes
    assert replace(made, count=5) == Example("a", 5, [1])
    assert Example("a") != Example("b")


def test_every_value_has_its_defaults_whichever_way_it_is_made() -> None:
    for kind in vars(values).values():
        if isinstance(kind, type) and hasattr(kind, "__dataclass_fields__"):
            given = {part.name: part.name for part in fields(kind)}
            made = kind(**given)
            assert {part.name: getattr(made, part.name) for part in fields(made)} == given
