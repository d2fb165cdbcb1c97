"""Worlds for the scenarios, in every generation and over the libraries that are here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .scenario import CHAINS
from .world import FAKES, GENERATIONS, Generation, World, default_script, genvm_libraries

if TYPE_CHECKING:
    from collections.abc import Callable

    from .values import Request


@pytest.fixture(params=GENERATIONS)
def generation(request: pytest.FixtureRequest) -> Generation:
    given: Generation = request.param
    return given


# Ours, and GenVM's own where they are here.
LIBRARIES = {"ours": FAKES} | ({"GenVM's own": own} if (own := genvm_libraries()) else {})


@pytest.fixture(params=LIBRARIES)
def make(request: pytest.FixtureRequest, generation: Generation) -> Callable[..., World]:
    """Make loaded worlds of a generation, over our libraries and over GenVM's own where they are here."""
    libraries = LIBRARIES[request.param]

    def world(
        backends: Any = CHAINS, script: Callable[[Request], Any] = default_script, **more: Any
    ) -> World:
        is_ours = libraries == FAKES
        made = World(generation, backends, script=script, libraries=libraries, **{"shuffle": is_ours, **more})
        assert made.load_error is None
        return made

    return world
