"""The picture of a diversity report: first choices, agreement, shared failures and costs."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from .report import NOBODY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .report import Loss, Report

_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#dd8452", "#7f7f7f", "#bbbbbb")
_NOBODY, _SET, _INTENT = "#dddddd", "#4477aa", "#bbbbbb"
_STOPPED = "#cc3311"
_WIDTH, _LEFT, _PLOT = 960, 150, 780
_HALF = 330
_BINS = 20
_MAX_NAMED = len(_COLOURS)


def draw_svg(report: Report) -> str:
    """Draw it; what every validator running the intent itself would come to stands beside."""
    names = list(dict.fromkeys([*report.firsts, *report.intent_firsts]))
    shown = [name for name in names if name != NOBODY][:_MAX_NAMED]
    colours = {name: _COLOURS[place % len(_COLOURS)] for place, name in enumerate(shown)}
    rows = -(-(len(shown) + 1) // 3)
    body = [*_firsts(report, colours, 34)]
    top = 34 + 2 * 30 + 24 + rows * 18 + 40
    body += _histogram(report.same_by_contract, top, _LEFT, "how often two validators choose alike", (0, 1))
    most = max((*report.dearer, 0.01)) if report.dearer else 0.01
    title = "how much dearer than the cheapest policy"
    body += _histogram(report.dearer, top, _LEFT + _HALF + 120, title, (0, most), "policies")
    top += 210
    parts = (
        (
            "the losses that stop most: red is stopped, pale has lost its first choice",
            report.stops,
            report.intent_stops,
        ),
        ("the losses that take most first choices", report.moves, report.intent_moves),
    )
    for title, losses, intent in parts:
        body += _losses(title, losses, intent, top, report.validators)
        top += 40 + 64 * len(losses)
    height = top
    size = f'width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *body, "</svg>", ""])


def _firsts(report: Report, colours: Mapping[str, str], top: int) -> Iterator[str]:
    yield _text(16, top - 12, "who is chosen first, over all contracts", weight="bold")
    for row, (name, shares) in enumerate(
        ((f"{report.validators} policies", report.firsts), ("the intent", report.intent_firsts))
    ):
        yield _text(_LEFT - 8, top + row * 30 + 16, name, anchor="end")
        left = float(_LEFT)
        for route, share in shares.items():
            width = share * _PLOT
            rect = f'x="{left:.1f}" y="{top + row * 30}" width="{width:.1f}" height="22"'
            colour = colours.get(route, _NOBODY)
            yield f'<rect {rect} fill="{colour}"><title>{escape(route)} {share:.1%}</title></rect>'
            left += width
    below = top + 80
    others = [("nobody, or other routes", _NOBODY)]
    for place, (name, colour) in enumerate([*colours.items(), *others]):
        x, y = _LEFT + place % 3 * 260, below + place // 3 * 18
        yield f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{colour}"/>'
        yield _text(x + 18, y, f"{name} {report.firsts[name]:.1%}" if name in report.firsts else name)


def _histogram(
    numbers: Sequence[float],
    top: int,
    left: int,
    title: str,
    bounds: tuple[float, float],
    of: str = "contracts",
) -> Iterator[str]:
    low, high = bounds
    bins = [0] * _BINS
    for number in numbers:
        bins[min(_BINS - 1, int((number - low) / (high - low) * _BINS))] += 1
    most, height, width = max(1, *bins), 120, _HALF / _BINS
    yield _text(left, top, title, weight="bold")
    for place, count in enumerate(bins):
        tall = count / most * height
        span = f"{low + (high - low) * place / _BINS:.1%} to {low + (high - low) * (place + 1) / _BINS:.1%}"
        rect = f'x="{left + place * width:.1f}" y="{top + 20 + height - tall:.1f}" width="{width - 1:.1f}"'
        yield f'<rect {rect} height="{tall:.1f}" fill="{_SET}"><title>{span}: {count} {of}</title></rect>'
    bottom = top + 20 + height
    yield f'<line x1="{left}" x2="{left + _HALF}" y1="{bottom}" y2="{bottom}" stroke="#999999"/>'
    for part in range(3):
        yield _text(
            left + part / 2 * _HALF, bottom + 15, f"{low + (high - low) * part / 2:.1%}", anchor="middle"
        )
    yield _text(left - 6, top + 30, str(most), anchor="end")
    yield _text(left, bottom + 32, f"{len(numbers)} {of}")


def _losses(
    title: str, losses: Sequence[Loss], intents: Sequence[Loss], top: int, validators: int
) -> Iterator[str]:
    yield _text(16, top, title, weight="bold")
    row = top + 14
    for one, intent in zip(losses, intents, strict=False):
        yield from _loss(one, row, f"{len(one.providers)} lost", f"{validators} policies")
        yield from _loss(intent, row + 28, "", "the intent")
        row += 64


def _loss(loss: Loss, top: int, title: str, whose: str) -> Iterator[str]:
    plot = 380
    yield _text(16, top + 15, title, weight="bold")
    yield _text(_LEFT - 8, top + 15, whose, anchor="end")
    for share, colour in ((1.0, "#f4f4f4"), (loss.moved, "#f6c7bd"), (loss.stopped, _STOPPED)):
        yield f'<rect x="{_LEFT}" y="{top}" width="{share * plot:.1f}" height="22" fill="{colour}"/>'
    told = f"{', '.join(loss.providers)}: stopped {loss.stopped:.1%}, first choice lost {loss.moved:.1%}"
    yield _text(_LEFT + plot + 10, top + 15, told)


def _text(x: float, y: float, text: str, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'
