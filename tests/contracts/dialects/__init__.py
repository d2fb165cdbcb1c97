"""The dialects of the suite, one a file, found by being there."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.contracts.dialect import Dialect


def dialects() -> dict[str, Dialect]:
    """Every dialect by its adapter's name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"{__name__}.{name}").DIALECT for name in names}
