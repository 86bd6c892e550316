"""Small pure functions that draw charts as inline SVG; colours come from the page's CSS.

All sizes are in the units of a canvas WIDTH wide that scales with the page. `label` is what a
screen reader says. Missing numbers (None) are left out.
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from textwrap import wrap

from markupsafe import Markup, escape

from ..formats import number

WIDTH = 460
LINE = 60  # letters that fit across

Number = float | int | None
Point = Sequence[Number]


def bars(rows: Sequence[tuple[str, Number, str]], label: str, mark: Number = None) -> Markup:
    """Draw one horizontal bar a row of (name, value, text); `mark` draws a dotted line."""
    values = [value or 0.0 for _, value, _ in rows]
    start, room = _columns([name for name, _, _ in rows], [text for _, _, text in rows])
    low, high = min([0.0, *values]), max([mark or 0.0, 0.0, *values])
    scale = room / ((high - low) or 1)
    zero, height = start - low * scale, 22 * len(rows) + 4
    parts, texts = [], []
    for index, ((name, _, text), value) in enumerate(zip(rows, values, strict=True)):
        y, x, size = index * 22, zero + min(0.0, value) * scale, abs(value) * scale
        parts.append(
            f'<rect class="{"bar low" if value < 0 else "bar"}" x="{x:.1f}" y="{y + 4}" '
            f'width="{size:.1f}" height="14"/>'
        )
        texts.append(_name(start - 8, y + 15, name))
        texts.append(_text(max(zero, x + size) + 6, y + 15, text))
    if mark is not None:
        parts.append(_line(zero + mark * scale, 0, zero + mark * scale, height, "mark"))
    return _svg(height, label, parts + texts)


def timeline(rows: Sequence[tuple[str, float, float, str, str]], label: str, unit: str) -> Markup:
    """Draw one bar a row of (name, begin, end, text, kind) on an axis of times from 0 on.

    The kinds are "", "low" for what is critical and "done" for what is done. Names that do not fit
    beside the bars stand whole above them.
    """
    heads = [
        wrap(row[0], LINE) if any(_short(row[0]) != row[0] for row in rows) else [] for row in rows
    ]
    names = ["" if head else row[0] for head, row in zip(heads, rows, strict=True)]
    start, room = _columns(names, [row[3] for row in rows])
    if any(heads):
        start, room = 8.0, room + start - 8.0
    last = max((row[2] for row in rows), default=0.0) or 1.0
    tops = [*accumulate((22 + 16 * len(head) for head in heads), initial=0)]
    height = tops[-1]
    step = next((s for s in (1, 2, 3, 6, 12, 24, 60) if last / s <= 9), last / 9)
    ticks = [step * index for index in range(int(last // step) + 1)]
    places = [(value, start + value / last * room) for value in ticks]
    parts = [_line(at, 0, at, height, "grid") for _, at in places]
    for top, head, (name, begin, end, text, kind) in zip(tops, heads, rows, strict=False):
        parts += [_text(0, top + 15 + 16 * line, said) for line, said in enumerate(head)]
        y, x, size = top + 16 * len(head), start + begin / last * room, (end - begin) / last * room
        parts.append(
            f'<rect class="bar {kind}" x="{x:.1f}" y="{y + 4}" width="{max(2.0, size):.1f}" '
            f'height="14"/>'
        )
        parts += [] if head else [_name(start - 8, y + 15, name)]
        parts.append(_text(x + max(2.0, size) + 6, y + 15, text))
    parts += [_text(at, height + 16, f"{value:g}", "middle") for value, at in places]
    at = (0, height + 16) if not any(heads) else (0, height + 32)
    return _svg(at[1] + 8, label, [*parts, _text(*at, unit)])


def histogram(
    edges: Sequence[float | str], counts: Sequence[int], label: str, whole: bool = False
) -> Markup:
    """Draw columns for `counts` between `edges`, numbers or texts; `whole` numbers end before."""
    lower = [edge if isinstance(edge, str) else number(edge) for edge in edges]
    upper = [
        number(float(edge) - 1) if whole else text for edge, text in zip(edges, lower, strict=True)
    ]
    tallest, step = max([1, *counts]), (WIDTH - 8) / max(1, len(counts))
    parts = []
    for index, count in enumerate(counts):
        size = 100 * count / tallest
        title = escape(f"{lower[index]} to {upper[index + 1]}: {number(count)}")
        parts.append(
            f'<rect class="bar" x="{4 + index * step:.1f}" y="{110 - size:.1f}" '
            f'width="{max(1, step - 1.5):.1f}" height="{size:.1f}">'
            f"<title>{title}</title></rect>"
        )
    parts += [_line(4, 110, WIDTH - 4, 110, "axis"), _text(4, 126, lower[0])]
    return _svg(132, label, [*parts, _text(WIDTH - 4, 126, upper[-1], "end")])


def lines(
    series: dict[str, Sequence[Point]],
    x: str,
    y: str,
    label: str,
    *,
    diagonal: bool = False,
    level: Number = None,
    mark: tuple[Number, str] | None = None,
    dots: Sequence[tuple[float, float, float]] = (),
    ticks: Sequence[tuple[float, str]] = (),
    zero: bool = True,
) -> Markup:
    """Draw lines through points over named axes.

    `diagonal` adds the line y = x, `level` a dotted horizontal, `mark` a dotted vertical with its
    text, `dots` points of (x, y, weight), `ticks` texts on x; `zero` lets y begin at 0. A line
    without a point has no key.
    """
    known = {
        name: [(float(a), float(b)) for a, b in points if a is not None and b is not None]
        for name, points in series.items()
    }
    clean = {name: points for name, points in known.items() if points}
    xs, ys = [[p[axis] for points in (*clean.values(), dots) for p in points] for axis in (0, 1)]
    if not xs:
        return _svg(24, label, [_text(0, 16, "no values")])
    extra = [0.0] * zero + [0.0, 1.0] * diagonal + ([level] if level is not None else [])
    xs += [0.0, 1.0] * diagonal
    scale = _ticks(min(ys + extra), max(ys + extra))
    start = 12 + 7.2 * max(len(_tick(value)) for value in scale)
    first, width, bottom = min(xs), (max(xs) - min(xs)) or 1, 210

    def across(value: float) -> float:
        return start + (value - first) / width * (WIDTH - start - 12)

    def up(value: float) -> float:
        return bottom - (value - scale[0]) / (scale[-1] - scale[0]) * (bottom - 12)

    parts = [_line(start, up(value), WIDTH - 12, up(value), "grid") for value in scale]
    parts += [_text(start - 6, up(value) + 4, _tick(value), "end") for value in scale]
    inside = [value for value in _ticks(first, first + width) if 0 <= value - first <= width]
    for value, text in ticks or [(value, _tick(value)) for value in inside]:
        at = across(value)
        anchor = "start" if at < start + 14 else "end" if at > WIDTH - 36 else "middle"
        parts.append(_text(at, bottom + 16, text, anchor))
    if diagonal:
        parts.append(_line(across(0), up(0), across(1), up(1), "mark"))
    if level is not None:
        parts.append(_line(start, up(level), WIDTH - 12, up(level), "mark"))
    for index, points in enumerate(clean.values()):
        path = " ".join(f"{across(a):.1f},{up(b):.1f}" for a, b in points)
        parts.append(f'<polyline class="s{index}" points="{path}"/>')
    heaviest = max((weight for _, _, weight in dots), default=1)
    for a, b, weight in dots:
        parts.append(
            f'<circle class="dot" cx="{across(a):.1f}" cy="{up(b):.1f}" '
            f'r="{3 + 6 * math.sqrt(weight / heaviest):.1f}">'
            f"<title>{number(a)}, {number(b)}, n = {number(weight)}</title></circle>"
        )
    if mark and mark[0] is not None and 0 <= mark[0] - first <= width:
        at = across(mark[0])
        anchor, gap = ("end", -5) if at > WIDTH / 2 else ("start", 5)
        parts += [_line(at, 12, at, bottom, "mark"), _text(at + gap, 22, mark[1], anchor)]
    axes = _axes(start, bottom + 34, x, y)
    end = bottom + 18 + 16 * len(axes)
    for index, name in enumerate(clean if len(clean) > 1 else ()):
        at = end + 16 + 18 * index
        parts += [_line(start, at, start + 24, at, f"s{index}"), _text(start + 32, at + 4, name)]
    keys = 18 * len(clean) if len(clean) > 1 else 0
    return _svg(end + 6 + keys, label, parts + axes)


def scatter(points: Sequence[Sequence[float]], x: str, y: str, label: str) -> Markup:
    """Draw points (x, y) over named axes of one scale, and the dotted line y = x."""
    values = [value for point in points for value in point]
    if not values:
        return _svg(24, label, [_text(0, 16, "no values")])
    scale = _ticks(min(values), max(values))
    start, bottom = 12 + 7.2 * max(len(_tick(value)) for value in scale), 330
    low, whole = scale[0], scale[-1] - scale[0]

    def across(value: float) -> float:
        return start + (value - low) / whole * (WIDTH - start - 24)

    def up(value: float) -> float:
        return bottom - (value - low) / whole * (bottom - 12)

    parts = [_line(start, up(value), WIDTH - 24, up(value), "grid") for value in scale]
    parts += [_text(start - 6, up(value) + 4, _tick(value), "end") for value in scale]
    parts += [_text(across(value), bottom + 16, _tick(value), "middle") for value in scale]
    parts.append(_line(across(low), up(low), across(scale[-1]), up(scale[-1]), "mark"))
    parts += [
        f'<circle class="dot" fill-opacity="0.5" cx="{across(a):.1f}" cy="{up(b):.1f}" r="3"/>'
        for a, b in points
    ]
    axes = _axes(start, bottom + 34, x, y)
    return _svg(bottom + 24 + 16 * len(axes), label, parts + axes)


def cloud(points: Sequence[Sequence[float]], shades: Sequence[float], label: str) -> Markup:
    """Draw points (x, y) without axes; a shade from 0 to 1 makes each lighter or darker."""
    if not points:
        return _svg(24, label, [_text(0, 16, "no values")])
    low, high = ([axis(p[i] for p in points) for i in (0, 1)] for axis in (min, max))
    reach = [(b - a) or 1.0 for a, b in zip(low, high, strict=True)]
    parts = []
    for (a, b), shade in sorted(zip(points, shades, strict=True), key=lambda item: item[1]):
        x = 12 + (a - low[0]) / reach[0] * (WIDTH - 24)
        y = 318 - (b - low[1]) / reach[1] * 306
        parts.append(
            f'<circle class="dot" fill-opacity="{0.1 + 0.8 * shade:.2f}" cx="{x:.1f}" '
            f'cy="{y:.1f}" r="3.5"/>'
        )
    return _svg(330, label, parts)


def marks(points: Sequence[tuple[float, float, str]], label: str) -> Markup:
    """Write the text of each point (x, y, text) at its place; axes without a unit, of one scale."""
    if not points:
        return _svg(24, label, [_text(0, 16, "no values")])
    xs, ys = [point[0] for point in points], [point[1] for point in points]
    left, top, height = min(xs), max(ys), 330
    step = max((max(xs) - left) / (WIDTH - 40), (top - min(ys)) / (height - 30)) or 1
    parts = [
        _text(20 + (x - left) / step, 18 + (top - y) / step, text, "middle", "cell")
        for x, y, text in points
    ]
    return _svg(height, label, parts)


def intervals(
    rows: Sequence[tuple[str, Number, Number, Number]],
    label: str,
    *,
    mark: Number = None,
    strong: Sequence[str] = (),
) -> Markup:
    """Draw (name, value, low, high) as a dot with its interval; `strong` names stand out."""
    known = [row for row in rows if row[1] is not None]
    ends = [float(v) for row in known for v in (*row[1:], mark) if v is not None]
    if not ends:
        return _svg(24, label, [_text(0, 16, "no values")])
    scale = _ticks(min(ends), max(ends))
    start, room = _columns([row[0] for row in known], ["0.123"])
    height = 24 * len(known) + 24

    def at(value: float) -> float:
        return start + (value - scale[0]) / (scale[-1] - scale[0]) * room

    parts = [_line(at(v), 0, at(v), height - 22, "grid") for v in scale]
    widest = 7.2 * max(len(_tick(value)) for value in scale) + 8
    every = math.ceil(widest * (len(scale) - 1) / room)  # texts that fit beside each other
    parts += [_text(at(v), height - 6, _tick(v), "middle") for v in scale[::every]]
    if mark is not None:
        parts.append(_line(at(mark), 0, at(mark), height - 22, "mark"))
    for index, (name, value, low, high) in enumerate(known):
        y, kind = index * 24 + 12, "s0" if name in strong or not strong else "s9"
        parts.append(_name(start - 10, y + 4, name))
        if low is not None and high is not None:
            parts.append(_line(at(low), y, at(high), y, kind))
        parts.append(f'<circle class="{kind}" cx="{at(float(value or 0)):.1f}" cy="{y}" r="4.5"/>')
        parts.append(_text(WIDTH, y + 4, number(value), "end"))
    return _svg(height, label, parts)


def heatmap(names: Sequence[str], cells: Sequence[Sequence[Number]], label: str) -> Markup:
    """Draw a square matrix of values in -1..1, written in hundredths; blank where None."""
    start, room = _columns(names, [])
    step = room / max(1, len(names))
    parts = []
    for row, name in enumerate(names):
        y = row * 24
        parts.append(_name(start - 8, y + 16, name))
        for column, value in enumerate(cells[row]):
            if value is None:
                continue
            x, kind = start + column * step, "bar low" if value < 0 else "bar"
            title = escape(f"{name}, {names[column]}: {number(value, 2)}")
            parts.append(
                f'<rect class="{kind}" fill-opacity="{0.6 * abs(value):.2f}" x="{x:.1f}" y="{y}" '
                f'width="{step - 1:.1f}" height="23"><title>{title}</title></rect>'
            )
            parts.append(_text(x + step / 2, y + 16, f"{100 * value:z.0f}", "middle", "cell"))
    return _svg(24 * len(names), label, parts)


def _ticks(low: float, high: float) -> list[float]:
    """Return three to seven round numbers that cover low..high."""
    size = max(abs(low), abs(high))
    if high - low <= 1e-9 * size or size < 1e-300:
        half = size / 2 if size >= 1e-300 else 0.5
        low, high = low - half, high + half
    raw = (high - low) / 4
    power = 10 ** math.floor(math.log10(raw))
    step = min((m * power for m in (1, 2, 2.5, 5, 10)), key=lambda s: abs(s - raw))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def _tick(value: float) -> str:
    return number(value, 9)


def _svg(height: float, label: str, parts: Sequence[str]) -> Markup:
    head = f'<svg class="chart" viewBox="0 0 {WIDTH} {height:.0f}" role="img"'
    return Markup(f'{head} aria-label="{escape(label)}">{"".join(parts)}</svg>')


def _columns(names: Sequence[str], texts: Sequence[str]) -> tuple[float, float]:
    """Return where the drawing starts and its width, beside names and texts of these lengths."""
    start = 12 + 7.2 * max([8, *(len(_short(name)) for name in names)])
    return start, WIDTH - start - (12 + 7.2 * max((len(text) for text in texts), default=-1))


def _axes(x: float, y: float, across: str, up: str) -> list[str]:
    """Return what the axes are called, in as many lines as that takes."""
    said = wrap(f"{across} (across), {up} (up)", LINE - round(x / 7))
    return [_text(x, y + 16 * index, line) for index, line in enumerate(said)]


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text{style} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _name(x: float, y: float, text: str) -> str:
    note = f"<title>{escape(text)}</title>" if _short(text) != text else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="end">{note}{escape(_short(text))}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _short(text: str, size: int = 30) -> str:
    return text if len(text) <= size else f"{text[: size - 1]}…"
