#!/bin/sh
# Make docker/secrets/ once: random passwords, and the teacher's key from OPENAI_API_KEY. Nothing is overwritten.
set -eu
umask 077
cd "$(dirname "$0")"
mkdir -p secrets
for name in postgres s3; do
    [ -e "secrets/$name" ] || od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"secrets/$name"
done
[ -e secrets/prefect ] || printf 'kpod:%s' "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" >secrets/prefect
[ -e secrets/teacher ] || printf '%s' "${OPENAI_API_KEY:-}" >secrets/teacher
# Compose mounts each file with its mode into a container whose user is another: readable there, while the folder
# lets nobody else of this machine through.
chmod 444 secrets/*
