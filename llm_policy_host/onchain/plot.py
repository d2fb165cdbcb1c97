"""The spread as a plot: one bar a scenario, of the routes that served."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from .spread import NOBODY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .spread import Spread

_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#dd8452", "#555555")
_OF_NOBODY = "#dddddd"
_LEFT, _WIDTH, _BAR, _ROW, _TOP = 190, 420, 22, 34, 42


def draw_svg(spreads: Sequence[Spread]) -> str:
    """Draw who served, and how many agree, for every scenario."""
    routes = sorted({route for spread in spreads for route in spread.served} - {NOBODY})
    colours = {route: _COLOURS[place % len(_COLOURS)] for place, route in enumerate(routes)}
    colours[NOBODY] = _OF_NOBODY
    legend_top = _TOP + _ROW * len(spreads) + 20
    height = legend_top + 18 * len(colours) + 10
    size = f'width="{_LEFT + _WIDTH + 160}" height="{height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        _text(_LEFT, 20, "who served (share of all answers)"),
        _text(_LEFT + _WIDTH + 10, 20, "agree with the leader"),
    ]
    for place, spread in enumerate(spreads):
        lines += _bar(_TOP + _ROW * place, spread, colours)
    for place, (route, colour) in enumerate(colours.items()):
        top = legend_top + 18 * place
        lines.append(f'<rect x="{_LEFT}" y="{top}" width="12" height="12" fill="{colour}"/>')
        lines.append(_text(_LEFT + 18, top + 10, route))
    return "\n".join([*lines, "</svg>", ""])


def _bar(top: int, spread: Spread, colours: dict[str, str]) -> Iterable[str]:
    yield _text(_LEFT - 8, top + 15, spread.scenario, anchor="end")
    left = float(_LEFT)
    for route, colour in colours.items():
        width = spread.served.get(route, 0) * _WIDTH
        if width:
            yield (
                f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{_BAR}" fill="{colour}">'
                f"<title>{escape(route)} {spread.served[route]:.1%}</title></rect>"
            )
        left += width
    yield _text(_LEFT + _WIDTH + 10, top + 15, f"{spread.agree:.1%}")


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'
