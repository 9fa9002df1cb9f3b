#!/bin/sh
# An environment for lm-evaluation-harness, apart from kpod's own: bench/lm_eval_env.sh FOLDER
set -eu
python3 -m venv "$1"
"$1/bin/pip" install --quiet 'lm-eval==0.4.13' 'torch>=2.6,<2.14' 'transformers>=5.17,<6' accelerate 'peft>=0.21' sentencepiece
