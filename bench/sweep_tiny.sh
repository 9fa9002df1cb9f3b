#!/bin/sh
# Methods at equal target tokens on the demo's word problems, five seeds; killed, it goes on when started again.
# Without the ablations of the curriculum, which equal kpod where T is 0.
#
#   bench/sweep_tiny.sh [kpod sweep's options]      e.g. --set seeds=[0,1]
#
# About three quarters of an hour on one core. Its result files:
#   python bench/collect_sweep.py RUN TABLE sweep_tiny bench/sweep_tiny.sh
set -eu
kpod sweep table-2 --size tiny --set methods=[base,scotd-1,scotd,icl,kpod-paper,kpod] --set against=scotd "$@"
