#!/usr/bin/env bash
# Sets up mmtuna in a virtual environment of its own. Usage: scripts/setup.sh VENV
# TORCH_INDEX picks a build of torch: https://download.pytorch.org/whl/cpu, .../cu128; by default the one pip finds.
set -euo pipefail
venv=${1:?usage: scripts/setup.sh VENV}
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  { echo "setup: $("$python" --version 2>&1) is too old; set PYTHON to 3.11 or newer" >&2; exit 1; }
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check --quiet)
# mmcv without its compiled operators: none of the models here needs them, and they need a compiler and an hour.
export MMCV_WITH_OPS=0
# torch first and alone: an unpinned torch behind another package takes gigabytes of the newest CUDA build.
"${pip[@]}" install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$(grep '^torch==' constraints.txt)"
"${pip[@]}" install -c constraints.txt -e '.[test,postgres,export,ray,s3]'
# onedl-mmengine asks for opencv-python, which needs libGL and an X library that servers lack.
opencv=$(grep '^opencv-python-headless==' constraints.txt)
"${pip[@]}" uninstall -y opencv-python >/dev/null 2>&1 || true
"${pip[@]}" install --no-deps --force-reinstall "$opencv"
"$venv/bin/python" -c 'import cv2' ||
  { echo "setup: cv2 does not import; install opencv-python-headless in the place of opencv-python" >&2; exit 1; }
touch "$venv/.ready"
