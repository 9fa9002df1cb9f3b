#!/bin/sh
# Make the environment in which bench/teacher.py runs bespokelabs-curator (it pins pandas and datasets of its own).
# Usage: bench/curator_env.sh FOLDER
set -eu
python3 -m venv "$1"
"$1/bin/pip" install --quiet "bespokelabs-curator==0.1.31"
"$1/bin/python" -c "import bespokelabs.curator as c; print('curator ready')"
