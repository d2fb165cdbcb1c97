"""The stores that the contract is held against: in memory, a SQLite file, a real PostgreSQL."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import psycopg
import pytest

from . import server
from .places import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def new_schema() -> Iterator[Callable[[], str]]:
    """Give URLs of empty schemas of one server."""
    why = server.why_none()
    if why is not None:
        pytest.skip(why)
    numbers = count(1)
    with server.running() as url:

        def make() -> str:
            name = f"ledger_{next(numbers)}"
            with psycopg.connect(url, autocommit=True) as made:
                made.execute(f"CREATE SCHEMA {name}".encode())
            return f"{url}&options=-csearch_path%3D{name}"

        yield make


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Give a ledger that does not exist yet."""
    if request.param == "sqlite":
        return Place(str(tmp_path / "ledger.db"), tmp_path / "archive")
    return Place(request.getfixturevalue("new_schema")(), tmp_path / "archive")


@pytest.fixture
def file_place(tmp_path: Path) -> Place:
    """Give a ledger in a SQLite file that does not exist yet."""
    return Place(str(tmp_path / "ledger.db"), tmp_path / "archive")
