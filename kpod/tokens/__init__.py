"""Stage `tokens`: every kept rationale as token ids, once for all later stages."""
