"""The page around the sections: one file that fetches nothing and runs no script but its own two."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache

from mmtuna.studies.report.markup import Html, markup, tag
from mmtuna.studies.report.style import SCRIPT, STYLE


@cache
def _plotly() -> tuple[str, str]:
    """plotly.js and its hash, as a policy names it."""
    from plotly.offline import get_plotlyjs  # 5 MB, and only a report needs it

    # A text node must not end its script early; the bundle has no such place today, the next one might.
    text = get_plotlyjs().replace("</script", "<\\/script")
    return text, _hash(text)


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def page(title: str, subtitle: str, sections: Sequence[tuple[str, str, Html]], footer: str) -> str:
    """The whole file; `sections` are (id, heading, content)."""
    bundle, bundle_hash = _plotly()
    # Hashes and not 'unsafe-inline': a script that came in with a name or a message would still not run.
    policy = (
        f"default-src 'none'; script-src {bundle_hash} {_hash(SCRIPT)}; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    contents = tag("nav", *(tag("a", name, href=f"#{place}") for place, name, _ in sections), aria_label="Sections")
    body = [tag("section", tag("h2", name), content, id=place) for place, name, content in sections]
    return "".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            f"<title>{markup(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n",
            tag("header", tag("h1", title), tag("p", subtitle, class_="subtitle"), contents),
            "\n<main>\n",
            "\n".join(body),
            "\n</main>\n",
            tag("footer", footer),
            tag("noscript", tag("p", "The charts need JavaScript; every table stands without.", class_="missing")),
            f"\n<script>{bundle}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
        ]
    )
