"""Pictures of runs that were played: an SVG, or a page with the figures beside it."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from llm_policy_host.errors import UsageError
from llm_policy_host.simulation.picture import draw_svg

from .contracts import reason

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from llm_policy_host.simulation.picture import Side

_STYLE = (
    "body{font-family:sans-serif;margin:2em;max-width:62em}h1{font-size:1.2em}table{border-collapse:collapse}"
    "td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #ddd}td:first-child{text-align:left}"
    "svg{max-width:100%;height:auto}"
)


def add_pictures(parser: argparse.ArgumentParser) -> None:
    """Give a subcommand the options of pictures."""
    pictures = parser.add_mutually_exclusive_group()
    pictures.add_argument("--svg", metavar="FILE", help="write the picture here")
    pictures.add_argument("--html", metavar="FILE", help="write the picture and the figures as a page here")


def draw(
    arguments: argparse.Namespace,
    title: str,
    figures: Sequence[Sequence[str]],
    sides: Sequence[Side],
    deadline_ms: float,
) -> None:
    """Write the pictures that are asked for; `figures` are a table's rows, its head first."""
    if arguments.svg is not None:
        _write(Path(arguments.svg), draw_svg(sides, deadline_ms))
    if arguments.html is not None:
        _write(Path(arguments.html), _page(title, figures, draw_svg(sides, deadline_ms)))


def _page(title: str, figures: Sequence[Sequence[str]], picture: str) -> str:
    """Give a page of its own, which asks nothing of any network."""
    head, *rows = figures
    cells = [f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr>"]
    cells += [f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows]
    lines = (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">',
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>",
        f"<h1>{escape(title)}</h1>",
        f"<table>{''.join(cells)}</table>",
        picture,
    )
    return "\n".join([*lines, "</html>", ""])


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"the picture `{path}` cannot be written: {reason(error)}") from None
