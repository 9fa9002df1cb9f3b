"""Finish reasons in one vocabulary: servers have many words for each of them."""

import re
from typing import Literal

Finish = Literal["stop", "length", "content_filter", "abort", "error", "tool_calls"]

# Lower case, words joined by "_", without a provider's prefix.
_WORDS: dict[Finish, str] = {
    "stop": "stop eos eos_token stop_token end_of_sequence end_turn stop_sequence end end_of_text complete completed"
    " done finished finish success normal",
    "length": "length max_tokens max_token max_output_tokens max_new_tokens max_completion_tokens max_length limit"
    " token_limit tokens_limit length_limit model_length context_length context_window_exceeded"
    " model_context_window_exceeded error_limit truncated incomplete pause_turn",
    "content_filter": "content_filter content_filtered content_policy content_policy_violation filtered filter blocked"
    " block safety recitation blocklist prohibited_content spii image_safety language refusal refused sensitive"
    " moderation guardrail_intervened error_toxic data_inspection_failed",
    "abort": "abort aborted cancel cancelled canceled user_cancel interrupted interrupt timeout time_limit preempted"
    " insufficient_system_resource network_error other unspecified finish_reason_unspecified",
    "error": "error failed failure internal_error server_error exception",
    "tool_calls": "tool_calls tool_call tool_use function_call malformed_function_call unexpected_tool_call",
}
_KNOWN: dict[str, Finish] = {word: finish for finish, words in _WORDS.items() for word in words.split()}
_PREFIX = re.compile(r"^finish_?reason[_.]")


def finish_reason(word: object) -> str:
    """`word` as one of `Finish`, whatever its case and spelling; an unknown word is returned in lower case.

    No reason means `stop`. A detail after a colon ("content_filter: RECITATION") is ignored.
    """
    if word is None or word == "":
        return "stop"
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(word)[:100].partition(":")[0].strip())
    plain = re.sub(r"[\W_]+", "_", plain).strip("_").lower()
    for name in (plain, _PREFIX.sub("", plain)):
        if name in _KNOWN:
            return _KNOWN[name]
    return plain or "unknown"


def known(reason: str) -> bool:
    """Whether `reason` is one of `Finish`."""
    return reason in _WORDS
