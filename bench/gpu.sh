#!/bin/sh
# All that is measured on a GPU, in ten minutes or so, without a download; then the tests marked gpu. Students of up to
# 3 GB are written to TMPDIR.
#   sh bench/gpu.sh            writes gpu.json and gpu_tests.txt into $OUT, or bench/results
#   sh bench/gpu.sh --smoke    the same at toy size on any machine, into a folder of its own
set -u
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
case " $* " in *" --smoke "*) out=${OUT:-$(mktemp -d)} ;; *) out=${OUT:-$here/results} ;; esac
mkdir -p "$out"
PYTHONPATH="$here/..${PYTHONPATH:+:$PYTHONPATH}" python "$here/gpu.py" --out "$out/gpu.json" "$@"
parts=$?
python -c "import pytest" 2>/dev/null || { echo "pytest is not installed: the tests marked gpu are left out"; exit $parts; }
files=$(grep -l "mark.gpu" tests/test_*.py)
# shellcheck disable=SC2086
timeout 130 python -m pytest -q -m gpu -p no:cacheprovider $files > "$out/gpu_tests.txt" 2>&1
tests=$?
tail -n 1 "$out/gpu_tests.txt"
echo "results in $out"
[ $parts -eq 0 ] && exit $tests
exit $parts
