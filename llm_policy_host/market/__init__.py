"""Marketplaces: offers from sources polled in the background, and what routes were measured to do."""
