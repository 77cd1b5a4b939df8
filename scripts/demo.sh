#!/usr/bin/env bash
# The main job on embedded defaults: data, weights, search, report, bundle. Usage: scripts/demo.sh BIN
# Called again it goes on where it stopped; `rm -r runs/demo` begins anew.
set -euo pipefail
cd "$(dirname "$0")/.."
mmtuna=${1:?usage: scripts/demo.sh BIN}/mmtuna
python=$1/python
out=runs/demo
slots=$("$python" -c 'import os; print(max(1, min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())))')

[ -d $out/fundus ] || "$mmtuna" data fundus $out/fundus --images 24
[ -d $out/phantom ] || "$mmtuna" data phantom $out/phantom
# One trial a decoder: side by side, or a core would be idle while the third is trained.
"$mmtuna" run examples/vessels.toml --slots 3
"$python" scripts/collect_weights.py examples/vessels.toml $out/weights
"$mmtuna" run examples/demo.toml --slots "$slots"
[ -d $out/bundle ] || "$mmtuna" export examples/demo.toml -o $out/bundle
echo "look at $out/report.html"
