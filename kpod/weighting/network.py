"""The weight generator of Eq. 2-3 and its files."""

import json
import math
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from kpod.errors import ModelError
from kpod.store.files import atomic, write_text

_SHAPE = ("width", "hidden", "heads")
START = 0.8  # weight of every token before training: from a half-masked rationale a predictor learns little


class Weighter(nn.Module):
    """`e = Att(Emb(r))` (Eq. 2), `w_j = sigmoid(MLP(e_j))` (Eq. 3): the probability that token j is not masked.

    One layer of bidirectional self-attention with a residual connection, then a two-layer MLP. Queries and keys have
    sinusoidal positions, values have none.
    """

    def __init__(self, width: int, hidden: int, heads: int) -> None:
        """`width`: d of the student's embedding; `hidden`: of the MLP. Every w_j is initially near START.

        Raises ModelError if `heads` does not divide `width`.
        """
        super().__init__()
        if width % heads:
            raise ModelError(f"weights.heads is {heads}, which does not divide the embedding's width {width}")
        self.width, self.hidden, self.heads = width, hidden, heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, 1))
        last = self.mlp[2]
        nn.init.normal_(last.weight, std=0.1 / math.sqrt(hidden))
        nn.init.constant_(last.bias, math.log(START / (1 - START)))

    def forward(self, embeddings: Tensor, visible: Tensor) -> Tensor:
        """Logits of w, float [B, n], from raw embeddings [B, n, d].

        Tokens where `visible` bool [B, n] is False (padding, a closing statement of the answer) are not attended to by
        visible ones, and their own logits are meaningless.
        """
        rows, length, width = embeddings.shape
        # Embeddings of different students differ in scale by orders of magnitude.
        normal = F.layer_norm(embeddings, (width,))
        placed = normal + _positions(length, width, normal)
        split = (rows, length, self.heads, width // self.heads)
        query, key, value = (
            layer(x).view(split).transpose(1, 2)
            for layer, x in ((self.query, placed), (self.key, placed), (self.value, normal))
        )
        # One mask for all queries of a row: [n, n] would be a gigabyte at 16,000 tokens. A row without visible tokens
        # attends to all, so that no softmax is empty.
        seen = (visible | ~visible.any(1, keepdim=True))[:, None, None, :]
        context = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        mixed = normal + self.out(context.transpose(1, 2).reshape(rows, length, width))
        return self.mlp(mixed).squeeze(-1)


def _positions(length: int, width: int, like: Tensor) -> Tensor:
    """Sinusoidal positions, [length, width]."""
    place = torch.arange(length, device=like.device, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, device=like.device) * (-math.log(10_000.0) / width))
    waves = torch.cat([torch.sin(place * rate), torch.cos(place * rate)], dim=1)[:, :width]
    return waves.to(like.dtype)


def save(weighter: Weighter, folder: Path) -> None:
    """Write `weighter.safetensors` and `weighter.json` (its shape) into a folder, atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().cpu().contiguous() for name, value in weighter.state_dict().items()}
    with atomic(folder / "weighter.safetensors") as temporary:
        save_file(tensors, temporary)
    settings = {name: getattr(weighter, name) for name in _SHAPE}
    write_text(folder / "weighter.json", json.dumps(settings, indent=2) + "\n")


def load(folder: Path) -> Weighter:
    """Load a weighter from the folder of `save`, in eval mode. Raises ModelError if a file is missing or invalid."""
    try:
        shape = json.loads((folder / "weighter.json").read_text(encoding="utf-8"))
        weighter = Weighter(**{name: shape[name] for name in _SHAPE})
        weighter.load_state_dict(load_file(folder / "weighter.safetensors"))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ModelError(f"{folder} holds no weighter ({str(error).splitlines()[0]}): rerun stage weights") from error
    return weighter.eval()
