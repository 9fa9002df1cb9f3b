#!/bin/sh
# The environment of the peer that bench/distill.py compares with; kept apart, because peers pin what kpod does not.
set -eu
here=$(dirname "$0")/distill_peer
python3 -m venv "$here/.venv"
"$here/.venv/bin/pip" install --quiet "trl==1.16.0" "torch>=2.6,<2.14" "transformers==5.23.0" "peft==0.21.2" "accelerate==1.15.0"
"$here/.venv/bin/python" -c "import trl, torch; print('trl', trl.__version__, 'torch', torch.__version__)"
