"""Stage `rationales`: a client that never pays twice for a completion, and local teachers. Imports questions."""
