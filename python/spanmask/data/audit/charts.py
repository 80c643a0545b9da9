"""Histograms as inline SVG."""

from __future__ import annotations

from spanmask.data.audit.tally import Distribution

__all__ = ["histogram"]

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 400, 190, 8, 34, 14


def histogram(values: Distribution, title: str, unit: str, mark: float | None = None) -> str:
    """Bars with a caption.

    Args:
        values: what is shown.
        title: of the chart.
        unit: of the values; `%` without a space.
        mark: a value to mark with a line.
    """
    space = "" if unit == "%" else " "
    first, last = values.edges[0], values.edges[-1]
    most = max(max(values.counts), 1)
    wide, high = WIDTH - 2 * LEFT, HEIGHT - BOTTOM - TOP
    step = wide / len(values.counts)
    bars = []
    for number, count in enumerate(values.counts):
        low, top = values.edges[number], values.edges[number + 1]
        size = 0.0 if not count else max(1.5, high * count / most)
        over = number == len(values.counts) - 1 and values.most >= top
        what = f"{low:,.0f}{space}{unit} and more" if over else f"{low:,.0f} to {top:,.0f}{space}{unit}"
        bars.append(
            f'<rect x="{LEFT + number * step:.1f}" y="{TOP + high - size:.1f}" width="{max(step - 1, 0.5):.1f}" height="{size:.1f}">'
            f"<title>{what}: {count:,} row{'' if count == 1 else 's'}</title></rect>"
        )
    line = ""
    if mark is not None and first < mark < last:
        x = LEFT + wide * (mark - first) / (last - first)
        line = (
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 2}" y2="{TOP + high}"/>'
            f'<text x="{min(max(x, 40), WIDTH - 40):.1f}" y="{TOP - 4}" text-anchor="middle">maximum {mark:,.0f}</text>'
        )
    middle = (first + last) / 2
    ticks = "".join(
        f'<text x="{x}" y="{HEIGHT - BOTTOM + 15}" text-anchor="{anchor}">{value:,.0f}{"+" if plus else ""}</text>'
        for x, value, anchor, plus in (
            (LEFT, first, "start", False),
            (WIDTH / 2, middle, "middle", False),
            (WIDTH - LEFT, last, "end", values.most > last),
        )
    )
    facts = (
        f"least {values.least:,.0f}, median {values.median:,.0f}, mean {values.mean:,.0f}, most {values.most:,.0f}{space}{unit}"
    )
    return (
        f'<figure><figcaption>{title}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}: {facts}">'
        f'<path d="M{LEFT} {TOP + high + 0.5}H{WIDTH - LEFT}"/>{"".join(bars)}{line}{ticks}'
        f'<text x="{LEFT}" y="{HEIGHT - 4}">{facts}</text></svg></figure>'
    )
