"""Small tokenizers with chat templates that follow the rules of well-known instruct models."""

from dataclasses import dataclass

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

WORDS = ["Tom has 3 pens. He buys 4 more. So 3 + 4 = 7.", "Therefore, the answer is 7.", "Answer choices: (A) 12 (B) 7"]

# Headers around every turn, a trimmed text, BOS from the template, a date in the system turn that is always there.
LLAMA3 = """{{- bos_token }}
{%- if date_string is not defined %}{% set date_string = strftime_now("%d %b %Y") %}{% endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set told = messages[0]['content'] | trim %}{% set turns = messages[1:] %}
{%- else %}
    {%- set told = '' %}{% set turns = messages %}
{%- endif %}
{{- '<|head|>system<|/head|>\\n\\nDate: ' + date_string + '\\n\\n' + told + '<|eot|>' }}
{%- for turn in turns %}
    {{- '<|head|>' + turn['role'] + '<|/head|>\\n\\n' + (turn['content'] | trim) + '<|eot|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|head|>assistant<|/head|>\\n\\n' }}{% endif %}"""

# A system turn of its own if none is given; the text as it is.
QWEN25 = """{%- if messages[0]['role'] != 'system' %}
    {{- '<|start|>system\\nYou help.<|end|>\\n' }}
{%- endif %}
{%- for turn in messages %}
    {{- '<|start|>' + turn['role'] + '\\n' + turn['content'] + '<|end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start|>assistant\\n' }}{% endif %}"""

# The last assistant turn gets an empty thought; the prompt gets one if thinking is switched off.
QWEN3 = """{%- for turn in messages %}
    {%- if turn['role'] == 'assistant' and loop.last %}
        {{- '<|start|>assistant\\n<think>\\n\\n</think>\\n\\n' + turn['content'] + '<|end|>\\n' }}
    {%- else %}
        {{- '<|start|>' + turn['role'] + '\\n' + turn['content'] + '<|end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{% endif %}
{%- endif %}"""

# BOS from the template, no system role, another name for the assistant, a trimmed text.
GEMMA = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}
{%- for turn in messages %}
    {%- if (turn['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('take turns') }}{% endif %}
    {%- set role = 'model' if turn['role'] == 'assistant' else turn['role'] %}
    {{- '<|turn|>' + role + '\\n' + turn['content'] | trim + '<|/turn|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|turn|>model\\n' }}{% endif %}
"""

SMOLLM2 = """{% for turn in messages %}{% if loop.first and turn['role'] != 'system' %}{{ '<|start|>system
You are small.<|end|>
' }}{% endif %}{{ '<|start|>' + turn['role'] + '
' + turn['content'] + '<|end|>
' }}{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant
' }}{% endif %}"""

# BOS from the template, a space in front of both texts, EOS behind the assistant's; a system text is dropped.
MISTRAL = """{{ bos_token }}{% for turn in messages %}
{%- if turn['role'] == 'user' %}{{ '[INST] ' + turn['content'] + '[/INST]' }}
{%- elif turn['role'] == 'assistant' %}{{ ' ' + turn['content'] + eos_token }}{% endif %}{% endfor %}"""

# The thought is opened by the prompt itself.
THINKER = """{{ bos_token }}{% for turn in messages %}
{{- '<|start|>' + turn['role'] + '|' + turn['content'] + '<|end|>' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|start|>assistant|<think>\\n' }}{% endif %}"""


@dataclass(frozen=True)
class Family:
    """What the rules of a model say about `What?` alone, told as text."""

    template: str
    prompt: str
    lead: str  # in front of the assistant's words
    end: str  # of the assistant's turn
    bos: bool  # the tokenizer itself adds BOS to a text
    system: str  # the prompt with the system text "Count."


TODAY = "<bos><|head|>system<|/head|>\n\nDate: 26 Jul 2024\n\n"
FAMILIES = {
    "llama-3": Family(
        LLAMA3,
        TODAY + "<|eot|><|head|>user<|/head|>\n\nWhat?<|eot|><|head|>assistant<|/head|>\n\n",
        "",
        "<|eot|>",
        True,
        TODAY + "Count.<|eot|><|head|>user<|/head|>\n\nWhat?<|eot|><|head|>assistant<|/head|>\n\n",
    ),
    "qwen-2.5": Family(
        QWEN25,
        "<|start|>system\nYou help.<|end|>\n<|start|>user\nWhat?<|end|>\n<|start|>assistant\n",
        "",
        "<|end|>",
        False,
        "<|start|>system\nCount.<|end|>\n<|start|>user\nWhat?<|end|>\n<|start|>assistant\n",
    ),
    "qwen-3": Family(
        QWEN3,
        "<|start|>user\nWhat?<|end|>\n<|start|>assistant\n",
        "",
        "<|end|>",
        False,
        "<|start|>system\nCount.<|end|>\n<|start|>user\nWhat?<|end|>\n<|start|>assistant\n",
    ),
    "gemma": Family(
        GEMMA,
        "<bos><|turn|>user\nWhat?<|/turn|>\n<|turn|>model\n",
        "",
        "<|/turn|>",
        True,
        "<bos><|turn|>user\nCount.\n\nWhat?<|/turn|>\n<|turn|>model\n",
    ),
    "smollm2": Family(
        SMOLLM2,
        "<|start|>system\nYou are small.<|end|>\n<|start|>user\nWhat?<|end|>\n<|start|>assistant\n",
        "",
        "<|end|>",
        False,
        "<|start|>system\nCount.<|end|>\n<|start|>user\nWhat?<|end|>\n<|start|>assistant\n",
    ),
    "mistral": Family(MISTRAL, "<bos>[INST] What?[/INST]", " ", "<eos>", True, "<bos>[INST] Count.\n\nWhat?[/INST]"),
}
_MARKS = [
    "<pad>", "<bos>", "<eos>", "<|head|>", "<|/head|>", "<|eot|>", "<|start|>", "<|end|>", "<|turn|>", "<|/turn|>",
    "[INST]", "[/INST]",
]  # fmt: skip


def tokenizer(template: str | None, bos: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE with the marks of all families as special tokens; `bos`: it puts BOS in front of a text."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=_MARKS, initial_alphabet=alphabet, show_progress=False)
    raw.train_from_iterator(WORDS, trainer)
    if bos:
        raw.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    made = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>")
    made.add_tokens(["<think>", "</think>"])
    if template is not None:
        made.chat_template = template
    return made
