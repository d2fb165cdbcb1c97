"""The picture of a simulation: some runs from the fastest to the slowest, all latencies, who answered."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from .play import ANSWER, DEADLINE, WAIT
from .summary import at_share, telling

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .play import Played
    from .summary import Summary

Side = tuple[str, "Sequence[Played]", "Summary"]
"""A policy's name, its runs, and what they amount to."""

_WIDTH, _LEFT, _RIGHT = 960, 190, 50
_PLOT = _WIDTH - _LEFT - _RIGHT
_ROW, _BAR = 22, 14
_SHOWN = (0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 1)
_OF_SIDE = ("#4477aa", "#ee6677")
_ROUTES = ("#4477aa", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#dd8452", "#7f7f7f", "#bbbbbb")
_NOBODY = "#333333"
_ENDS: Mapping[str, str] = {
    ANSWER: "#228833",
    WAIT: "#e4e4e4",
    DEADLINE: "#333333",
    "timeout": "#aa3377",
    "rate_limit": "#ccbb44",
    "server_error": "#dd8452",
}
_FAILED = "#ee6677"


def draw_svg(sides: Sequence[Side], deadline_ms: float) -> str:
    """Draw one policy, or two beside each other."""
    body: list[str] = []
    top = 34
    for part in (_runs(sides, deadline_ms), _latencies(sides, deadline_ms), _shares(sides)):
        height = _put(body, part, top)
        top += height + 34
    size = f'width="{_WIDTH}" height="{top}" viewBox="0 0 {_WIDTH} {top}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *body, "</svg>", ""])


def _put(body: list[str], part: tuple[str, int, Iterator[str]], top: int) -> int:
    """Put a part below the others; give its height."""
    title, height, lines = part
    body.append(_text(16, top - 10, title, weight="bold"))
    body.append(f'<g transform="translate(0 {top})">')
    body.extend(lines)
    body.append("</g>")
    return height


# Runs ---------------------------------------------------------------------------------------------


def _runs(sides: Sequence[Side], deadline_ms: float) -> tuple[str, int, Iterator[str]]:
    shown = [(name, telling(played, _SHOWN)) for name, played, _ in sides]
    rows = sum(len(runs) + (len(sides) > 1) for _, runs in shown)
    longest = max(run.took_ms for _, runs in shown for _, run in runs)
    scale = _scale(longest)
    title = "runs, from the fastest to the slowest: as many of 100 took no longer"
    return title, rows * _ROW + 50, _run_lines(shown, rows, scale, deadline_ms)


def _run_lines(
    shown: Sequence[tuple[str, Sequence[tuple[float, Played]]]], rows: int, longest: float, deadline_ms: float
) -> Iterator[str]:
    yield from _axis(rows * _ROW, longest, "ms")
    top = 0
    for name, runs in shown:
        if len(shown) > 1:
            yield _text(_LEFT - 8, top + 15, name, anchor="end", weight="bold")
            top += _ROW
        for share, run in runs:
            yield _text(_LEFT - 8, top + 12, _label(share, run), anchor="end")
            for span in run.spans:
                yield _span(span.begins_ms, span.ends_ms, top, longest, span.end, span.route)
            top += _ROW
    if deadline_ms <= longest:
        x = _LEFT + deadline_ms / longest * _PLOT
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="-4" y2="{top}" stroke="#333" stroke-dasharray="4 3"/>'
        yield _text(x, -6, "deadline", anchor="middle")
    ends = sorted({span.end for _, runs in shown for _, run in runs for span in run.spans})
    yield from _legend(top + 36, [(_named(end), _colour(end)) for end in ends])


def _span(begins: float, ends: float, top: int, longest: float, end: str, route: str | None) -> str:
    left, width = _LEFT + begins / longest * _PLOT, max(1.5, (ends - begins) / longest * _PLOT)
    title = f"{route or 'between calls'}: {_named(end)}, {begins:.0f} to {ends:.0f} ms"
    rect = f'x="{left:.1f}" y="{top + 1}" width="{width:.1f}" height="{_BAR}" fill="{_colour(end)}"'
    label = ""
    if route is not None and width > 7 * len(route):
        label = f'<text x="{left + 4:.1f}" y="{top + 12}" fill="white" font-size="10">{escape(route)}</text>'
    return f'<rect {rect} stroke="white"><title>{escape(title)}</title></rect>{label}'


def _label(share: float, run: Played) -> str:
    ended = str(run.provider_id if run.ok else run.error)[:12]
    return f"{share * 100:g}: {ended} {run.took_ms:.0f} ms"


def _named(end: str) -> str:
    return {ANSWER: "answered", WAIT: "waits", DEADLINE: "cut by the deadline"}.get(end, end)


def _colour(end: str) -> str:
    return _ENDS.get(end, _FAILED)


# Latencies ----------------------------------------------------------------------------------------


def _latencies(sides: Sequence[Side], deadline_ms: float) -> tuple[str, int, Iterator[str]]:
    title = "share of runs that were answered within a time"
    return title, 220, _latency_lines(sides, deadline_ms)


def _latency_lines(sides: Sequence[Side], deadline_ms: float) -> Iterator[str]:
    height = 150
    answered = [sorted(run.took_ms for run in played if run.ok) for _, played, _ in sides]
    longest = _scale(max((at_share(each, 1) for each in answered if each), default=deadline_ms))
    yield from _axis(height, longest, "ms")
    for share in (0, 25, 50, 75, 100):
        y = height - share / 100 * height
        yield f'<line x1="{_LEFT}" x2="{_LEFT + _PLOT}" y1="{y:g}" y2="{y:g}" stroke="#eeeeee"/>'
        yield _text(_LEFT - 8, y + 4, f"{share} %", anchor="end")
    for (_, played, _), ordered, colour in zip(sides, answered, _OF_SIDE, strict=False):
        points = _steps(ordered, len(played), longest, height)
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
    names = [_with_quantiles(name, summary) for name, _, summary in sides]
    yield from _legend(height + 36, list(zip(names, _OF_SIDE, strict=False)))


def _steps(ordered: Sequence[float], whole: int, longest: float, height: int) -> str:
    """Give the line's points, at most some hundred of them."""
    points = [(float(_LEFT), float(height))]
    count = len(ordered)
    for place in sorted({round(step * (count - 1) / 300) for step in range(301)} if count else ()):
        x = _LEFT + ordered[place] / longest * _PLOT
        points += [(x, points[-1][1]), (x, height - (place + 1) / whole * height)]
    points.append((float(_LEFT + _PLOT), points[-1][1]))
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _with_quantiles(name: str, summary: Summary) -> str:
    latency = summary.latency_ms
    return name if latency is None else f"{name} (p50 {latency.p50:.0f} ms, p99 {latency.p99:.0f} ms)"


# Shares -------------------------------------------------------------------------------------------


def _shares(sides: Sequence[Side]) -> tuple[str, int, Iterator[str]]:
    routes = sorted({route for _, _, summary in sides for route in summary.routes})
    colours = {route: _ROUTES[place % len(_ROUTES)] for place, route in enumerate(routes)}
    return "who answered", len(sides) * _ROW + 40, _share_lines(sides, colours)


def _share_lines(sides: Sequence[Side], colours: Mapping[str, str]) -> Iterator[str]:
    for row, (name, _, summary) in enumerate(sides):
        yield _text(_LEFT - 8, row * _ROW + 13, name, anchor="end")
        left = float(_LEFT)
        nobody = {"nobody": 1 - sum(summary.routes.values())}
        for route, share in {**summary.routes, **nobody}.items():
            width = share * _PLOT
            colour = colours.get(route, _NOBODY)
            rect = f'x="{left:.1f}" y="{row * _ROW + 1}" width="{max(0.0, width):.1f}" height="{_BAR + 2}"'
            yield f'<rect {rect} fill="{colour}"><title>{escape(route)} {share:.1%}</title></rect>'
            left += width
    has_nobody = any(summary.success < 1 for _, _, summary in sides)
    entries = [*colours.items(), *([("nobody", _NOBODY)] if has_nobody else [])]
    yield from _legend(len(sides) * _ROW + 16, entries)


# Parts --------------------------------------------------------------------------------------------


def _scale(longest: float) -> float:
    """Give a round number at or above."""
    longest = max(longest, 1)
    power = 10.0 ** (len(str(int(longest))) - 1)
    return next(power * step for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 20) if power * step >= longest)


def _axis(height: float, longest: float, unit: str) -> Iterator[str]:
    for part in range(6):
        x = _LEFT + part / 5 * _PLOT
        yield f'<line x1="{x:g}" x2="{x:g}" y1="0" y2="{height}" stroke="#eeeeee"/>'
        yield _text(
            x, height + 14, f"{longest * part / 5:g}{' ' + unit if part == 5 else ''}", anchor="middle"
        )


def _legend(top: float, entries: Sequence[tuple[str, str]]) -> Iterator[str]:
    left = float(_LEFT)
    for name, colour in entries:
        rect = f'x="{left:.1f}" y="{top - 10:g}" width="12" height="12"'
        yield f'<rect {rect} fill="{colour}" stroke="#cccccc"/>'
        yield _text(left + 18, top, name)
        left += 34 + 6.6 * len(name)


def _text(x: float, y: float, text: str, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'
