"""The stage `rationales`: a client that never pays twice, its journal, and local servers to stand in for a provider."""
