#!/usr/bin/env bash
# Sets up mmtuna in a virtual environment of its own. Usage: scripts/setup.sh VENV [EXTRA...]
# EXTRA: export, postgres, ray, s3, test (see pyproject.toml); without any, all of them. On what is there it builds.
# TORCH_INDEX picks a build of torch: https://download.pytorch.org/whl/cpu, .../cu128; by default the one pip finds.
set -euo pipefail
venv=${1:?usage: scripts/setup.sh VENV [EXTRA...]}
shift
[ $# -gt 0 ] || set -- export postgres ray s3 test
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  { echo "setup: $("$python" --version 2>&1) is too old; set PYTHON to 3.11 or newer" >&2; exit 1; }
for extra in "$@"; do
  [ -f "locks/$extra.txt" ] || { echo "setup: no extra is called $extra; there are export, postgres, ray, s3, test" >&2; exit 1; }
done
export PIP_DISABLE_PIP_VERSION_CHECK=1
# mmcv without its compiled operators: none of the models here needs them, and they need a compiler and an hour.
export MMCV_WITH_OPS=0

# Says what it does, does it, and says how long it took; what it prints itself is shown if it fails.
step() {
  printf 'setup: %s ...' "$1"
  local begun=$SECONDS told
  told=$("${@:2}" 2>&1) || { printf ' failed\n%s\n' "$told" >&2; exit 1; }
  printf ' %d s\n' $((SECONDS - begun))
}
# Modules are compiled when they are first imported, for most never are: those that every start needs at the end.
install() { "$venv/bin/python" -m pip install -qq --no-compile "$@"; }
# The locks say all that is needed, so nothing is resolved; what is there already is left as it is.
locked() { install --no-deps --no-build-isolation "$@"; }
pinned() { grep "^$1==" constraints.txt; }

if ! [ -x "$venv/bin/python" ]; then
  step "$venv, $("$python" --version)" "$python" -m venv "$venv"
fi
# An old pip takes three times as long for the same; setuptools and packaging build the two that come as source.
step "pip" locked "$(pinned pip)" "$(pinned setuptools)" "$(pinned packaging)"
step "packages of mmtuna and $*" locked -r locks/core.txt $(printf -- '-r locks/%s.txt ' "$@")
# torch brings what its build needs, CUDA's libraries among it. Last, or mmcv's set-up would look through it.
step "$(pinned torch)" install -c constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$(pinned torch)"
step "mmtuna itself" locked -e .
compiled() { PYTHONDONTWRITEBYTECODE='' "$venv/bin/python" -c "$1"; }
both() {
  local failed=0
  compiled "$1" & compiled "$2" || failed=1
  wait $! || failed=1
  return $failed
}
# Of the command and of the trials, side by side. A missing libGL would show here: the locks have
# opencv-python-headless in the place of opencv-python, which needs it and an X library.
step "first imports" both 'import mmtuna.search.commands.run' 'import cv2, mmtuna.objectives.trial.preload'
echo "setup: done in $SECONDS s"
