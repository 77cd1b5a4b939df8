"""HTML, escaped by default: a plain string becomes text, only `Html` stays markup."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence

Figure = Mapping[str, object]
"""A plotly figure as plain data: `data` and `layout`."""


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Content = str | int | Html


def markup(content: Content) -> Html:
    """`content` as HTML: escaped, unless it is HTML already."""
    return content if isinstance(content, Html) else Html(html.escape(str(content)))


def join(parts: Iterable[Content], between: str = "") -> Html:
    """All parts in a row."""
    return Html(between.join(markup(part) for part in parts))


def tag(name: str, *content: Content, **attributes: str) -> Html:
    """An element; `class_` is the attribute class, `data_label` is data-label."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"' for key, value in attributes.items()
    )
    return Html(f"<{name}{written}>{join(content)}</{name}>")


def paragraph(*content: Content) -> Html:
    """A paragraph."""
    return tag("p", *content)


def missing(*content: Content) -> Html:
    """What stands where something cannot be shown, and why."""
    return tag("p", *content, class_="missing")


def note(*content: Content) -> Html:
    """Small print below a table or a chart."""
    return tag("p", *content, class_="note")


def table(
    caption: str,
    header: Sequence[Content],
    body: Iterable[Sequence[Content] | Html],
    numbers: Iterable[int] = (),
    class_: str = "",
) -> Html:
    """A table that scrolls by itself where it is wider than the screen.

    `numbers` are the columns set as figures. A row that is Html stands as it is.
    """
    right = set(numbers)

    def cell(name: str, column: int, content: Content) -> Html:
        return tag(name, content, class_="number") if column in right else tag(name, content)

    head = tag("tr", *(cell("th", column, content) for column, content in enumerate(header)))
    lines = [
        row
        if isinstance(row, Html)
        else tag("tr", *(cell("td", column, content) for column, content in enumerate(row)))
        for row in body
    ]
    inner = tag("table", tag("caption", tag("div", caption)), tag("thead", head), tag("tbody", *lines), class_=class_)
    return tag("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)


def pairs(caption: str, entries: Mapping[str, object]) -> Html:
    """A table of names and values."""
    return table(caption, ("name", "value"), [(name, str(value)) for name, value in entries.items()], class_="pairs")


def plot_text(text: object) -> str:
    """`text` for a chart's label: plotly reads a few tags and links in every string."""
    return html.escape(str(text))


def chart(name: str, figure: Figure, label: str, height: int, small: bool = False) -> Html:
    """A place for a chart and its data; the page's script draws it. `label` says in words what it shows."""
    data = json.dumps(figure, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        data = data.replace(sign, f"\\u{ord(sign):04x}")
    place = tag("div", id=f"chart-{name}", class_="chart", role="img", aria_label=label, style=f"height:{height}px")
    text = Html(f'<script type="application/json" data-chart="{html.escape(name)}">{data}</script>')
    return tag("figure", place, text, class_="small" if small else "wide")


def count(number: int, one: str, many: str = "") -> str:
    """`1 trial`, `1,000 trials`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def hours(seconds: float) -> str:
    """Seconds as hours, with as many digits as say something."""
    amount = seconds / 3600
    return f"{amount:,.0f}" if amount >= 100 else f"{amount:.1f}" if amount >= 10 else f"{amount:.2f}"


def value_text(value: object, digits: int = 4) -> str:
    """A param as a person writes it in the spec, floats with so many significant digits."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)
