#!/bin/sh
# Methods at equal target tokens on the demo's word problems, five seeds; killed, it goes on when started again.
#
#   bench/sweep_tiny.sh [kpod sweep's options]      e.g. --set seeds=[0,1]
#
# About an hour and a half on one core. Its result files: python bench/collect_sweep.py RUN TABLE sweep_tiny bench/sweep_tiny.sh
set -eu
kpod sweep table-2 --size tiny \
    --set methods=[base,scotd-1,scotd,icl,kpod-wo-sig,kpod-wo-sig-dif,kpod-wo-prog,kpod-wo-div,kpod] --set against=scotd "$@"
