"""Construction of weighter and answer predictor for a student, by the settings."""

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kpod import observe
from kpod.config import Weights
from kpod.fields import Precision
from kpod.training import models
from kpod.training.adapter import lora
from kpod.weighting.batch import Batch
from kpod.weighting.examples import predictor_form, template_length
from kpod.weighting.network import Weighter
from kpod.weighting.predictor import EncoderDecoder, OnePass, Predictor, Separate

HIDDEN = 64  # width of the two-layer MLP in Eq. 3
RANK = 64  # of the answer predictor's adapters


def build_weighter(embedding: nn.Embedding, config: Weights) -> Weighter:
    """An untrained weighter for the student's embedding [V, d]; depends on `config.seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Weighter(embedding.weight.shape[1], HIDDEN, config.heads).to(embedding.weight.device)


def resolved(student: Path, config: Weights) -> Weights:
    """The settings with those of the answer predictor resolved for its size; `student`: its model folder."""
    return config.for_predictor(models.empty(config.predictor or student).num_parameters())


def predictor_precision(config: Weights) -> Precision:
    """Precision in which the answer predictor is loaded: fp32 if it is trained, else that of the computation."""
    return "fp32" if config.predictor_adapter == "full" else config.precision


def build_predictor(
    student: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: Weights
) -> tuple[Predictor, PreTrainedTokenizerBase]:
    """The answer predictor and the tokenizer of its questions and answers.

    Without `config.predictor` it is the student itself, which is changed. Its embedding and, if tied, its output layer
    are frozen, so that rationale and question share one embedding. All other layers are trained, or adapters in them
    (`config.predictor_adapter`, already resolved); nothing is if `config.predictor_lr` is 0. Raises ModelError.
    """
    model, reader, projection = student, tokenizer, None
    if config.predictor is not None:
        model, reader = models.load(config.predictor, predictor_precision(config))
        projection = _projection(student, tokenizer, model, reader)
    adapts = config.predictor_adapter == "lora"
    model.requires_grad_(config.predictor_lr != 0 and not adapts)
    for layer in (model.get_input_embeddings(), *_tied_head(model)):
        layer.weight.requires_grad_(False)
    if config.predictor_lr != 0 and adapts:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            lora(model, RANK, 2 * RANK)
    kind = EncoderDecoder if model.config.is_encoder_decoder else OnePass
    template = template_length(reader, predictor_form(reader, config.form))
    return kind(model, template, reader.eos_token_id, projection), reader


def _tied_head(model: PreTrainedModel) -> list[nn.Module]:
    head = model.get_output_embeddings()
    return [head] if head is not None and head.weight is model.get_input_embeddings().weight else []


def _projection(
    student: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    model: PreTrainedModel,
    reader: PreTrainedTokenizerBase,
) -> nn.Linear:
    """A linear map from the student's to the predictor's width, without bias, so that a masked token stays zero.

    It is initialised by least squares between the embeddings of the tokens that both vocabularies share.
    """
    source, target = student.get_input_embeddings().weight, model.get_input_embeddings().weight
    layer = nn.Linear(source.shape[1], target.shape[1], bias=False).to(source.device)
    known = reader.get_vocab()
    shared = [(i, known[word]) for word, i in sorted(tokenizer.get_vocab().items()) if word in known]
    with torch.no_grad():
        if len(shared) >= source.shape[1]:
            source_ids, target_ids = (torch.tensor(side, device=source.device) for side in zip(*shared, strict=True))
            # Torch's default on a CPU, gelsy, reads memory that is never set: its last digits change from call to call.
            driver = "gelsd" if source.device.type == "cpu" else "gels"
            pair = source[source_ids].float(), target[target_ids].float()
            layer.weight.copy_(torch.linalg.lstsq(*pair, driver=driver).solution.T)
        else:
            generator = torch.Generator().manual_seed(0)
            scale = target.float().std() / source.float().norm(dim=1).mean()
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * scale)
    return layer


def one_row_a_prefix(predictor: Predictor, batch: Batch, rationale: Tensor) -> Predictor:
    """`predictor`, or a slower one with a row for each prefix if the model cannot score all prefixes in one pass.

    Tested on one batch, because no attribute tells: models with relative biases, recurrent layers or windows ignore
    position ids or a four-dimensional mask. `rationale`: embeddings, float [B, R, d].
    """
    if not isinstance(predictor, OnePass):
        return predictor
    exact = predictor.model.dtype is torch.float32
    near = 1e-3 if exact else 5e-2
    twin = Separate(predictor.model, predictor.template, predictor.eos, predictor.projection)
    rationale = rationale.float()  # as a projection's weights are, whatever the precision of student and predictor
    with torch.no_grad(), models.autocast("fp32" if exact else "bf16"):
        try:
            same = torch.allclose(predictor.nll(batch, rationale), twin.nll(batch, rationale), rtol=near, atol=near)
        except (RuntimeError, TypeError, ValueError):
            same = False
    if not same:
        observe.warning(
            f"weights: {type(predictor.model).__name__} cannot score all prefixes in one pass; each gets its own, "
            "which is slower"
        )
    return predictor if same else twin
