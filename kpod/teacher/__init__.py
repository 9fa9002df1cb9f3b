"""Stage `rationales`: a client that pays for no completion twice, and local teachers. Imports questions and below."""
