"""Generation: the same tokens as a plain loop, stops where it must, and goes on after a kill."""

from functools import cache
from pathlib import Path

import pytest
import torch
from distill_tiny import STUDENTS, tokenizer
from evaluate_tiny import QUESTIONS, learned
from segments import prompt_ids
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from kpod.evaluate import decoding
from kpod.evaluate.generate import Completion, generate, longest_prompt

ASKED = [(name, text, None) for name, text in QUESTIONS.items()]
EOS = 1


@pytest.fixture(scope="module")
def by_heart() -> PreTrainedModel:
    return learned()


@cache
@torch.no_grad()
def plain_loop(kind: str, question: str, longest: int) -> str:
    """Greedy decoding of one question by whole forward passes: no batch, no padding, no cache."""
    tokens, model = tokenizer(), STUDENTS[kind](3)
    prompt, told = prompt_ids(tokens, question), []
    while len(told) < longest and EOS not in told and "Q:" not in tokens.decode(told):
        if model.config.is_encoder_decoder:
            logits = model(input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([[0, *told]])).logits
        else:
            logits = model(input_ids=torch.tensor([prompt + told])).logits
        told.append(int(logits[0, -1].argmax()))
    return tokens.decode(told, skip_special_tokens=True).split("Q:")[0].strip()


@pytest.mark.parametrize("batch_size", [1, 2, 64])
@pytest.mark.parametrize("kind", STUDENTS)
def test_batches_and_rounds_give_what_a_plain_loop_gives(kind: str, batch_size: int, tmp_path: Path) -> None:
    model = STUDENTS[kind](3)
    longest = decoding.ROUND + 5
    told = generate(model, tokenizer(), ASKED, batch_size, longest, tmp_path)
    assert {name: completion.text for name, completion in told.items()} == {
        name: plain_loop(kind, question, longest) for name, question in QUESTIONS.items()
    }


@pytest.mark.parametrize("kind", STUDENTS)
def test_rounds_go_on_from_the_cache(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the prompt the model reads one token a row and step, although rows leave the batch between rounds."""
    monkeypatch.setattr(decoding, "ROUND", 4)
    model = STUDENTS[kind](3)
    asked, read = [], []

    def ended(*told: object) -> bool:
        asked.append(told)
        return len(asked) <= 2  # two rows leave behind the first round

    def note(_: object, positional: object, given: dict[str, torch.Tensor]) -> None:
        read.append(given["decoder_input_ids" if model.config.is_encoder_decoder else "input_ids"].shape)

    monkeypatch.setattr(decoding, "ended", ended)
    model.register_forward_pre_hook(note, with_kwargs=True)
    generate(model, tokenizer(), ASKED, 8, 12, tmp_path)
    assert [tuple(shape) for shape in read[1:4]] == [(len(ASKED), 1)] * 3
    assert [tuple(shape) for shape in read[4:]] == [(len(ASKED) - 2, 1)] * 8


def test_stops_at_the_end_and_at_the_next_question(by_heart: PreTrainedModel, tmp_path: Path) -> None:
    told = generate(by_heart, tokenizer(), ASKED, 3, 100, tmp_path)
    assert told["right"] == Completion("So 3 + 4 = 7. Therefore, the answer is 7.", False)
    assert told["next"] == Completion("So 4. Therefore, the answer is 4.", False)
    assert told["nothing"] == Completion("", False)
    assert told["long"].text.endswith("the answer is 1,018.")
    assert not told["long"].truncated
    assert told["endless"].truncated
    assert told["endless"].text.startswith("1 7 7 7")


def test_running_out_of_tokens_is_truncated_but_ending_with_the_last_is_not(
    by_heart: PreTrainedModel, tmp_path: Path
) -> None:
    whole = len(tokenizer()(" So 3 + 4 = 7. Therefore, the answer is 7.<eos>")["input_ids"])
    only = [ASKED[0]]
    assert not generate(by_heart, tokenizer(), only, 1, whole, tmp_path / "a")["right"].truncated
    assert generate(by_heart, tokenizer(), only, 1, whole - 1, tmp_path / "b")["right"].truncated


@pytest.mark.parametrize("size", [1, 3, 7])
def test_a_question_mark_across_rounds_is_seen(
    by_heart: PreTrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(decoding, "ROUND", size)
    told = generate(by_heart, tokenizer(), ASKED, 2, 100, tmp_path)
    assert told["next"] == Completion("So 4. Therefore, the answer is 4.", False)
    assert told["right"].text.endswith("the answer is 7.")


def test_the_order_of_questions_does_not_matter(by_heart: PreTrainedModel, tmp_path: Path) -> None:
    forward = generate(by_heart, tokenizer(), ASKED, 2, 40, tmp_path / "a")
    backward = generate(by_heart, tokenizer(), ASKED[::-1], 2, 40, tmp_path / "b")
    assert forward == backward
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "b").iterdir())
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_killed_evaluation_goes_on_behind_its_finished_batches(
    by_heart: PreTrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, ran = decoding.decode, []

    def dies(*args: object) -> object:
        if len(ran) == 2:
            raise KeyboardInterrupt
        ran.append(args)
        return real(*args)

    monkeypatch.setattr(decoding, "decode", dies)
    with pytest.raises(KeyboardInterrupt):
        generate(by_heart, tokenizer(), ASKED, 2, 70, tmp_path / "killed")
    again: list[object] = []
    monkeypatch.setattr(decoding, "decode", lambda *args: again.append(args) or real(*args))
    resumed = generate(by_heart, tokenizer(), ASKED, 2, 70, tmp_path / "killed")
    resumed_batches = len(again)
    whole = generate(by_heart, tokenizer(), ASKED, 2, 70, tmp_path / "whole")
    assert resumed == whole
    assert resumed_batches == len(again) - resumed_batches - 2


def test_work_of_other_questions_is_not_taken(by_heart: PreTrainedModel, tmp_path: Path) -> None:
    generate(by_heart, tokenizer(), [("other", "How many?", None)], 2, 40, tmp_path)
    told = generate(by_heart, tokenizer(), ASKED[:1], 2, 40, tmp_path)
    assert told["right"].text.endswith("the answer is 7.")


def test_settings_of_the_model_folder_do_not_change_greedy_decoding(by_heart: PreTrainedModel, tmp_path: Path) -> None:
    own = by_heart.generation_config
    try:
        own.update(do_sample=True, temperature=5.0, top_k=3, repetition_penalty=9.0, min_new_tokens=90)
        own.update(suppress_tokens=[EOS], no_repeat_ngram_size=1)
        told = generate(by_heart, tokenizer(), ASKED[:1], 2, 60, tmp_path)
        assert told["right"] == Completion("So 3 + 4 = 7. Therefore, the answer is 7.", False)
    finally:
        by_heart.generation_config = own


def test_every_end_of_the_model_is_an_end(by_heart: PreTrainedModel, tmp_path: Path) -> None:
    dot = tokenizer().convert_tokens_to_ids(".")
    own = by_heart.generation_config
    try:
        own.eos_token_id = [EOS, dot]
        told = generate(by_heart, tokenizer(), ASKED[:1], 2, 60, tmp_path)
        assert told["right"] == Completion("So 3 + 4 = 7", False)
    finally:
        own.eos_token_id = EOS
        by_heart.generation_config = own


def test_longest_prompt() -> None:
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=300, n_positions=64, n_embd=8, n_layer=1, n_head=1))
    assert longest_prompt(gpt2.config, 24) == 40
    assert longest_prompt(STUDENTS["t5"]().config, 24) is None


def test_no_question_is_no_answer(by_heart: PreTrainedModel, tmp_path: Path) -> None:
    assert generate(by_heart, tokenizer(), [], 2, 40, tmp_path) == {}
