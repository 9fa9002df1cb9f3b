"""State on disk: files, KPOD_HOME, content keys, code versions, artifacts, liveness. Imports errors and schemas."""
