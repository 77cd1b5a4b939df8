"""The report's templates, filled in: one file that fetches nothing and runs no script but its own two."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from mmtuna.studies.report import wording
from mmtuna.studies.table2 import verdict_text

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # only a report needs it

    environment = Environment(
        loader=PackageLoader("mmtuna.studies.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    for name in ("count", "duration", "hours", "kilowatt_hours", "listed", "value_text"):
        environment.filters[name] = getattr(wording, name)
    environment.filters["verdict_text"] = verdict_text
    environment.filters["code"] = _code
    environment.filters["number"] = "{:,}".format
    return environment


def page(**shown: Any) -> str:
    """The whole file; `shown` is what the templates name. A name that they do not find raises."""
    return _environment().get_template("report.html.j2").render(_frame(), **shown)


@cache
def _frame() -> dict[str, str]:
    """What is the same in every report: plotly.js, what draws the charts with it, the style, and the policy."""
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs  # 5 MB, and only a report needs it

    # A text node must not end its script early; the bundle has no such place today, the next one might.
    scripts = {"plotly": get_plotlyjs().replace("</script", "<\\/script"), "script": _text("report.js")}
    # Hashes and not 'unsafe-inline': a script that came in with a name or a message would still not run.
    policy = (
        f"default-src 'none'; script-src {' '.join(map(_hash, scripts.values()))}; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    ours = {**scripts, "style": _text("report.css"), "policy": policy}
    return {name: Markup(text) for name, text in ours.items()}  # noqa: S704


def _code(text: str) -> Markup:
    """A sentence of ours, which Markdown takes as it is: what stands between backticks is code."""
    from markupsafe import Markup, escape

    parts = str(escape(text)).split("`")
    return Markup("".join(f"<code>{part}</code>" if at % 2 else part for at, part in enumerate(parts)))  # noqa: S704


def _text(name: str) -> str:
    return (files("mmtuna.studies.report") / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
