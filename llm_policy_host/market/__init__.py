"""What the market offers and how routes do: gathered in the background, read while planning."""

from .market import Market
from .observed import Observed

__all__ = ["Market", "Observed"]
