"""Curves as SVG: a few series over a logarithmic axis, without any library."""

import html
import math

COLOURS = ("#1b6ca8", "#c4442e", "#3c8d40", "#8a5a9e", "#a8801b", "#555555")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 420, 80, 190, 46, 56


def short(value):
    """1200 as 1.2k."""
    for scale, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= scale:
            return f"{value / scale:g}{letter}"
    return f"{value:g}"


def ticks(least, most):
    """The powers of ten around."""
    return [10.0 ** power for power in range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)]


def curves(title, x_name, y_name, series):
    """An SVG text; series is {name: [(x, y), …]}, all above 0; both axes are logarithmic."""
    points = [point for line in series.values() for point in line]
    xs, ys = ticks(min(x for x, _ in points), max(x for x, _ in points)), ticks(min(y for _, y in points), max(y for _, y in points))

    def place(value, marks, start, length):
        low, high = math.log10(marks[0]), math.log10(marks[-1])
        return start + length * ((math.log10(value) - low) / (high - low) if high > low else 0.5)

    def at(x, y):
        return (place(x, xs, LEFT, WIDTH - LEFT - RIGHT),
                HEIGHT - BOTTOM - place(y, ys, 0, HEIGHT - TOP - BOTTOM))

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
           f'<text x="{LEFT}" y="26" font-size="16">{html.escape(title)}</text>']
    for x in xs:
        left, bottom = at(x, ys[0])
        out.append(f'<line x1="{left:.1f}" y1="{TOP}" x2="{left:.1f}" y2="{bottom:.1f}" stroke="#dddddd"/>')
        out.append(f'<text x="{left:.1f}" y="{bottom + 18:.1f}" text-anchor="middle">{short(x)}</text>')
    for y in ys:
        left, bottom = at(xs[0], y)
        out.append(f'<line x1="{left:.1f}" y1="{bottom:.1f}" x2="{WIDTH - RIGHT}" y2="{bottom:.1f}" stroke="#dddddd"/>')
        out.append(f'<text x="{left - 8:.1f}" y="{bottom + 4:.1f}" text-anchor="end">{short(y)}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">{html.escape(x_name)}</text>')
    out.append(f'<text x="18" y="{(TOP + HEIGHT - BOTTOM) / 2}" text-anchor="middle" '
               f'transform="rotate(-90 18 {(TOP + HEIGHT - BOTTOM) / 2})">{html.escape(y_name)}</text>')
    for number, (name, line) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = [at(x, y) for x, y in sorted(line)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        row = TOP + 14 + 20 * number
        out.append(f'<line x1="{WIDTH - RIGHT + 14}" y1="{row - 4}" x2="{WIDTH - RIGHT + 40}" y2="{row - 4}" stroke="{colour}" stroke-width="2"/>')
        out.append(f'<text x="{WIDTH - RIGHT + 46}" y="{row}">{html.escape(name)}</text>')
    out.append("</svg>")
    return "\n".join(out) + "\n"
