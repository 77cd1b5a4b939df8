"""docs/zoo.md: the answers as a page."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

_HEAD = """\
# MMSegmentation's model zoo

Which of its configs can stand in `[model] base`, ours beside stock MMSegmentation with the same packages on a CPU.
`make zoo` makes this page and [`benchmarks/results/zoo.json`](../benchmarks/results/zoo.json); it goes on where it was
ended.

- *Builds*: stock reads the config and builds its model; ours edits it for a study of two classes, as `mmtuna check`
  does, and builds the model of that.
- *Trains*: the smallest config of each method that stock builds, two iterations and an evaluation on two images, at
  64 pixels, or the least of 128, 256 and 512 with which stock trains. What a person has to edit for stock is edited:
  SyncBN to BN, no weights that are downloaded, the data, the sizes, mixed precision off. On our side `input_size`,
  `crop`, `iterations` and, where the config asks for mixed precision, `precision = "fp32"` are set.
"""


def page(document: dict[str, Any]) -> str:
    """The page as Markdown."""
    rows = document["configs"]
    parts = [_HEAD, _counts(rows), _methods(rows), _refusals(rows)]
    packages = ", ".join(f"{name} {version}" for name, version in document["versions"].items() if name != "mmtuna")
    return "\n".join([*parts, f"Measured with {packages}.\n"])


def _ok(row: dict[str, Any], what: str) -> bool:
    return bool(row.get(what, {}).get("ok"))


def _counts(rows: list[dict[str, Any]]) -> str:
    trained = [row for row in rows if "trains_stock" in row]
    counted = [sum(_ok(row, f"builds_{side}") for row in rows) for side in ("stock", "ours")]
    done = [sum(_ok(row, f"trains_{side}") for row in trained) for side in ("stock", "ours")]
    lines = [f"Of {len(rows)} configs stock builds {counted[0]} and ours {counted[1]}."]
    asked = sum("trains_ours" in row for row in trained)
    ours = f"ours {done[1]} of the {asked} that were asked" if asked else "ours was not asked yet"
    lines.append(f"Of {len(trained)} methods stock trains {done[0]}; {ours}.")
    worse = [f"`{row['config']}`" for row in rows if row["worse"]]
    lines.append(
        f"Stock does, and ours neither does nor refuses at the check: {', '.join(worse)}."
        if worse
        else "Nothing that stock does is neither done by ours nor refused at the check."
    )
    return "\n".join(lines) + "\n"


def _methods(rows: list[dict[str, Any]]) -> str:
    methods: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        methods[row["method"]].append(row)
    head = ("method", "configs", "stock builds", "ours builds", "smallest", "stock trains", "ours trains")
    lines = [_line(head), _line(["---"] * len(head))]
    for method, group in methods.items():
        small = next((row for row in group if "trains_stock" in row), None)
        cells = [method, len(group), *(sum(_ok(row, f"builds_{side}") for row in group) for side in ("stock", "ours"))]
        cells += (
            ["-", "-", "-"] if small is None else [small["config"], *(_trains(small, s) for s in ("stock", "ours"))]
        )
        lines.append(_line(cells))
    return "\n".join(lines) + "\n"


def _trains(row: dict[str, Any], side: str) -> str:
    answer = row.get(f"trains_{side}")
    if answer is None:
        return "not asked"
    if answer.get("ok"):
        return "yes"
    return "refused" if answer.get("at") == "check" else "no"


def _refusals(rows: list[dict[str, Any]]) -> str:
    lines = ["## Why not", ""]
    for what, title in (("builds", "Does not build"), ("trains", "Does not train")):
        groups: dict[tuple[str, str], list[str]] = defaultdict(list)
        for row in rows:
            told = tuple(_reason(row, f"{what}_{side}") for side in ("stock", "ours"))
            if any(told):
                groups[told[0], told[1]].append(row["config"])
        if not groups:
            continue
        lines += [f"### {title}", "", _line(("configs", "stock says", "ours says")), _line(["---"] * 3)]
        for (theirs, own), names in groups.items():
            shown = ", ".join(names) if len(names) < 4 else f"{', '.join(names[:2])} and {len(names) - 2} more"
            lines.append(_line((shown, theirs or "fine", own or "fine")))
        lines.append("")
    return "\n".join(lines)


def _reason(row: dict[str, Any], what: str) -> str:
    answer = row.get(what, {"ok": True})
    if answer["ok"]:
        return ""
    # The name of the config differs from row to row, and the reason does not.
    return str(answer["reason"]).replace(row["config"], "NAME")


def _line(cells: Any) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
