#!/bin/sh
# The ablations on the demo's word problems, three seeds; killed, it goes on where it was when started again.
#
#   bench/sweep_tiny.sh [kpod sweep's options]      e.g. --set seeds=[0,1,2,3,4]
#
# Results: bench/results/sweep_tiny.md, .parquet and .png.
set -eu
here=$(dirname "$0")
log=$(mktemp)
kpod sweep table-2 --size tiny \
    --set methods=[base,scotd,icl,kpod-wo-sig,kpod-wo-sig-dif,kpod-wo-prog,kpod-wo-div,kpod] --set against=scotd "$@" > "$log"
cat "$log"  # not through a pipe, which would hide that the sweep failed and write an empty table
folder=$(sed -n 's/^Table  *//p' "$log")
{
    echo "kpod sweep table-2 --size tiny ... $*, $(date -u +%F), $(uname -m), $(nproc) cores"
    echo
    cat "$folder/table.md"
} > "$here/results/sweep_tiny.md"
cp "$folder/table.parquet" "$here/results/sweep_tiny.parquet"
cp "$folder/accuracy.png" "$here/results/sweep_tiny.png"
