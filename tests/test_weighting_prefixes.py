"""Eq. 5: all prefixes in one pass give what separate passes give, gradients included."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from weighting_tiny import MODELS, byte_bpe

from kpod.config import Weights
from kpod.observe import observing
from kpod.text.rationales import Rationale
from kpod.tokens.rows import tokenise
from kpod.weighting.batch import Batch, collate
from kpod.weighting.build import build_predictor, one_row_a_prefix
from kpod.weighting.examples import Example, template_length, usable
from kpod.weighting.predictor import EncoderDecoder, OnePass, Predictor, Separate
from kpod.weighting.prefixes import copies, ends, sum_factor

TOKENIZER = byte_bpe()


def examples() -> list[Example]:
    """Rationales of very different lengths, the shortest of one token."""
    texts = ["Tom has 3 apples. Tom has 3 + 4 = 7 apples.", "7", "Let us see. " * 4 + "So 12 - 5 = 7."]
    answers = ["7", "12", "-3.5 dollars"]
    found, dropped = usable(
        tokenise(
            TOKENIZER,
            [
                Rationale(f"q{i}", 0, "How many? " * (i + 1), None, answer, text, ((0, 5), (5, len(text))))
                for i, (text, answer) in enumerate(zip(texts, answers, strict=True))
            ],
        ),
        512,
    )
    assert not dropped
    return found


def predictor(model: str, **settings: object) -> Predictor:
    student = MODELS[model](len(TOKENIZER))
    return build_predictor(student, TOKENIZER, Weights(**settings))[0]  # type: ignore[arg-type]


def batch_of(rule: int | str) -> Batch:
    return collate(examples(), rule, 0, 0, torch.device("cpu"))  # type: ignore[arg-type]


def masked(batch: Batch, model: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """A mask that is a leaf, and the embeddings under it."""
    generator = torch.Generator().manual_seed(0)
    mask = (torch.rand(batch.rationale.shape, generator=generator) > 0.3).float().requires_grad_()
    return mask, mask[..., None] * model.get_input_embeddings()(batch.rationale)  # type: ignore[operator]


def slowly(predictor: Predictor, batch: Batch, rationale: torch.Tensor) -> list[list[torch.Tensor]]:
    """One pass a prefix over the bare, unpadded sequence, as Eq. 5 is written."""
    model, embed = predictor.model, predictor.model.get_input_embeddings()
    result = []
    for row, example in enumerate(batch.examples):
        answer = torch.from_numpy(example.answer.astype(np.int64))
        losses = []
        for end in batch.ends[row]:
            question = embed(torch.from_numpy(example.prompt.astype(np.int64)))
            seen = torch.cat([question, rationale[row, : int(end)]])
            if model.config.is_encoder_decoder:
                given = torch.cat([torch.tensor([model.config.decoder_start_token_id]), answer[:-1]])
                seen = torch.cat([seen, embed(torch.tensor([TOKENIZER.eos_token_id]))])
                logits = model(inputs_embeds=seen[None], decoder_input_ids=given[None]).logits[0]
            else:
                whole = torch.cat([seen, embed(answer[:-1])])
                logits = model(inputs_embeds=whole[None]).logits[0, len(seen) - 1 :]
            template = predictor.template
            losses.append(F.cross_entropy(logits[template:], answer[template:], reduction="sum"))
        result.append(losses)
    return result


@pytest.mark.parametrize(
    ("model", "kind"),
    [("llama", OnePass), ("gpt2", OnePass), ("llama", Separate), ("gpt2", Separate), ("bloom", Separate),
     ("t5", EncoderDecoder)],
)  # fmt: skip
@pytest.mark.parametrize("rule", [4, "steps"])
def test_equals_separate_passes_with_gradients(model: str, kind: type[Predictor], rule: int | str) -> None:
    built = predictor(model)
    built = kind(built.model, built.template, built.eos)
    built.model.requires_grad_(True)
    batch = batch_of(rule)
    counts = [len(cut) for cut in batch.ends]
    assert max(counts) > 1

    mask, rationale = masked(batch, built.model)
    fast = built.nll(batch, rationale)
    assert fast.shape == (len(batch), max(counts))
    weights = torch.linspace(0.5, 1.5, fast.numel()).view(fast.shape)  # every prefix counts differently
    (fast * weights).sum().backward()
    got = [mask.grad, *[p.grad for p in built.model.parameters()]]

    built.model.zero_grad()
    mask, rationale = masked(batch, built.model)
    slow = slowly(built, batch, rationale)
    sum(loss * weights[row, k] for row, losses in enumerate(slow) for k, loss in enumerate(losses)).backward()
    want = [mask.grad, *[p.grad for p in built.model.parameters()]]

    for row, losses in enumerate(slow):
        torch.testing.assert_close(fast[row, : len(losses)], torch.stack(losses), rtol=1e-5, atol=1e-5)
        assert not fast[row, len(losses) :].any()
    for mine, theirs in zip(got, want, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))


def test_a_prefix_knows_nothing_of_what_follows() -> None:
    """Another end of the rationale leaves the shorter prefixes' losses as they were."""
    built = predictor("llama")
    batch = batch_of(4)
    _, rationale = masked(batch, built.model)
    before = built.nll(batch, rationale)
    changed = rationale.clone()
    changed[0, int(batch.ends[0][-2]) :] += 1
    after = built.nll(batch, changed)
    assert torch.equal(before[0, :-1], after[0, :-1])
    assert not torch.isclose(before[0, -1], after[0, -1])


def test_what_a_row_scores_does_not_depend_on_its_company() -> None:
    built = predictor("llama")
    together = batch_of(4)
    for row, example in enumerate(examples()):
        alone = collate([example], 4, 0, 0, torch.device("cpu"))
        assert np.array_equal(alone.ends[0], together.ends[row])
        assert torch.equal(alone.uniform[0], together.uniform[row, : len(example.rationale)])
        embed = built.model.get_input_embeddings()
        one, many = built.nll(alone, embed(alone.rationale)), built.nll(together, embed(together.rationale))
        torch.testing.assert_close(one[0], many[row, : one.shape[1]], rtol=1e-5, atol=1e-5)


class Warnings:
    def __init__(self) -> None:
        self.messages: list[str] = []

    def progress(self, *_: object) -> None: ...

    def metrics(self, *_: object) -> None: ...

    def warning(self, message: str) -> None:
        self.messages.append(message)


@pytest.mark.parametrize(("model", "kind"), [("llama", OnePass), ("gpt2", OnePass), ("bloom", Separate)])
def test_models_that_cannot_score_in_one_pass_are_found_out(model: str, kind: type[Predictor]) -> None:
    built, batch, seen = predictor(model), batch_of(3), Warnings()
    with observing(seen):
        chosen = one_row_a_prefix(built, batch, masked(batch, built.model)[1])
    assert type(chosen) is kind
    assert bool(seen.messages) == (kind is Separate)


def test_prefixes_follow_their_rule() -> None:
    example = examples()[2]
    rng = np.random.default_rng(0)
    whole = example.visible
    assert ends(example, 1, rng).tolist() == [whole]
    assert ends(example, "tokens", rng).tolist() == list(range(1, whole + 1))
    assert ends(example, "steps", rng).tolist() == [int((example.step == 0).sum()), whole]
    drawn = [ends(example, 4, rng) for _ in range(200)]
    assert all(cut[-1] == whole and (np.diff(cut) > 0).all() and cut[0] >= 1 for cut in drawn)
    assert {int(end) for cut in drawn for end in cut} == set(range(1, whole + 1))
    assert ends(examples()[1], 4, rng).tolist() == [1]  # one token
    assert [sum_factor(example, rule) for rule in (4, "tokens", "steps")] == [whole, whole, 2]


def test_a_closing_statement_of_the_answer_is_never_seen() -> None:
    shown = "Tom has 3 + 4 = 7 apples."
    closings = (
        *("Therefore, the answer is 7.", "The answer is 7", "So the final answer is: 7.\n", "the answer is 7."),
        *("\n#### 7", "\nAnswer: 7", "The answer is 7.\nI hope that helps!"),
    )
    for closing in closings:
        texts = [shown, f"{shown} {closing}", closing]
        found, _ = usable(
            tokenise(
                TOKENIZER,
                [
                    Rationale(f"q{i}", 0, "How many?", None, "7", text, ((0, len(text)),))
                    for i, text in enumerate(texts)
                ],
            ),
            512,
        )
        assert [example.visible for example in found] == [len(found[0].rationale), len(found[0].rationale), 0]
        assert len(found[1].rationale) > found[1].visible


@pytest.mark.parametrize(
    "text",
    [
        "The answer is the sum of both. 3 + 4 = 7 apples.",
        "To find what the answer is, we add. 3 + 4 = 7",
        "3 + 4 = 7.\nSo she has 7.",
    ],
)
def test_reasoning_behind_the_words_is_seen(text: str) -> None:
    [example], _ = usable(
        tokenise(TOKENIZER, [Rationale("q", 0, "How many?", None, "7", text, ((0, len(text)),))]), 512
    )
    assert example.visible == len(example.rationale)


def test_only_the_answer_is_scored_not_the_words_in_front_of_it() -> None:
    template = template_length(TOKENIZER)
    answer = examples()[0].answer
    assert TOKENIZER.decode(answer[:template]).strip() == "Therefore, the answer is"
    assert TOKENIZER.decode(answer[template:]).strip() == "7.<eos>"


@pytest.mark.parametrize("rule", [1, 4, "steps", "tokens"])
def test_the_size_of_an_example_counts_the_answer_of_every_prefix(rule: int | str) -> None:
    """What `batch_tokens` limits is what goes into the model: sizes are at least the tokens of a pass of one row."""
    for kind in ("llama", "t5"):
        asked = predictor(kind)
        for example in examples():
            one = collate([example], rule, 0, 0, torch.device("cpu"))  # type: ignore[arg-type]
            seen: list[int] = []

            def note(_: object, positional: object, given: dict[str, torch.Tensor]) -> None:
                seen.append(given["inputs_embeds"].shape[0] * given["inputs_embeds"].shape[1])  # noqa: B023

            handle = asked.model.register_forward_pre_hook(note, with_kwargs=True)
            asked.nll(one, asked.model.get_input_embeddings()(one.rationale))
            handle.remove()
            size = asked.size(example, copies(example, rule))  # type: ignore[arg-type]
            assert seen[0] <= size
            assert kind == "t5" or len(one.ends[0]) < copies(example, rule) or seen[0] == size  # type: ignore[arg-type]
