"""How much of the paper's figures is the leak: five configs by its split, and the same images by folds of subjects.

Leaves benchmarks/results/leak.json. Stop it at any time; the same command goes on where it stopped.

    python benchmarks/claims/leak.py --data DATA --replicates 3
"""

from __future__ import annotations

import json
from dataclasses import asdict

import small

import mmtuna
from mmtuna.search.commands.leak import print_leak
from mmtuna.search.versions import machine, versions


def main() -> None:
    """Trains what is missing, prints the table and writes it."""
    told = small.options(__doc__ or "")
    small.vessels(told)
    spec, configs = small.spec("leak", told), small.HERE / "configs.toml"
    found = mmtuna.leak(spec, replicates=told.replicates, configs=configs, slots=told.slots, say=print)
    print_leak(found)
    document = {
        "what": "the leak, rehearsed small; the figures mean nothing" if told.rehearse else "how large the leak is",
        "command": f"python benchmarks/claims/leak.py --data DATA --replicates {told.replicates}",
        "machine": machine(),
        "versions": versions(),
        "leak": {name: value for name, value in asdict(found).items() if name != "folder"},
    }
    place = (told.out if told.rehearse else small.ROOT / "benchmarks" / "results") / "leak.json"
    place.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(place)


if __name__ == "__main__":
    small.told_in_one_line(main)
