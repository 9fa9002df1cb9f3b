"""What the diversity term changes in a selection, and what another normalisation changes in the ranking of steps.

Usage: python bench/curriculum_findings.py [--weights FOLDER [--losses FOLDER --score N]]
Writes bench/results/curriculum_findings.json; under a minute, one core. Without options everything is synthetic: no
model, no data set. `--weights`: the folder of a stage `weights`, whose weights then stand on synthetic losses.
`--score N`: N of its rationales are scored by the student as well; `--losses` holds the stages' folders questions,
rationales, steps and base (or links to them). docs/findings-curriculum.md reads the figures.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from kpod.config import Curriculum
from kpod.curriculum import Schedule, plan, solve
from kpod.curriculum.instance import build, fill

RESULT = Path(__file__).parent / "results" / "curriculum_findings.json"
BETAS = (1e-6, 1e-3, 1.0, 12.0, 100.0, 1e4)
N = 20_000
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
K = 5
Figures = dict[str, Any]


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Share of the union of two sets that is in both."""
    return len(np.intersect1d(a, b)) / max(1, len(np.union1d(a, b)))


def moved(a: Schedule, b: Schedule, stages: int) -> float:
    """Share of (rationale, stage) in which two schedules give another number of input steps, before T."""
    return float((a.input_steps[:stages] != b.input_steps[:stages]).mean())


def offers(rng: np.random.Generator, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Gains of mean 1 and their clusters; a cluster's gains are larger than the one before by the factor `spread`."""
    cluster = rng.choice(K, N, p=[0.35, 0.25, 0.2, 0.12, 0.08])
    gain = rng.gamma(2.0, 0.5, N) * spread ** cluster.astype(float)
    return gain / gain.mean(), cluster


def selections(spread: float) -> Figures:
    """One selection with every beta, with one cluster, and in random order; budget a tenth of the gains."""
    rng = np.random.default_rng(0)
    gain, cluster = offers(rng, spread)
    budget = 0.1 * float(gain.sum())
    paper = solve(gain, cluster, 12.0, budget).indices
    one = solve(gain, np.zeros(N, dtype=int), 12.0, budget).indices
    order = rng.permutation(N)
    drawn = order[fill(gain[order], budget)]
    sets = {"beta 12, K 5": paper, "beta 12, K 1 (cheapest first)": one, "beta 0 (random order)": drawn}
    return {
        "overlap with beta 12": {
            f"{beta:g}": overlap(paper, solve(gain, cluster, beta, budget).indices) for beta in BETAS
        },
        "sets": {
            name: {
                "selected": len(chosen),
                "mean gain": float(gain[chosen].mean()),
                "share of each cluster": (np.bincount(cluster[chosen], minlength=K) / len(chosen)).round(3).tolist(),
                "overlap with beta 12, K 5": overlap(paper, chosen),
                "f": float(gain[chosen].sum() + 12 * np.sqrt(np.bincount(cluster[chosen])).sum()),
            }
            for name, chosen in sets.items()
        },
        "clusters": (np.bincount(cluster) / N).round(3).tolist(),
    }


def schedules() -> Figures:
    """Whole schedules: how many (rationale, stage) pairs change with beta and with the clusters."""
    rng = np.random.default_rng(1)
    steps = rng.integers(2, 9, N)
    cluster = rng.choice(K, N, p=[0.35, 0.25, 0.2, 0.12, 0.08])
    flat = rng.gamma(2.0, 0.5, int(steps.sum())) * np.repeat(1.3 ** cluster.astype(float), steps)
    difficulties = np.split(flat, np.cumsum(steps)[:-1])
    base = plan(difficulties, cluster, Curriculum(epochs=20, T=0.5))
    other = {
        f"beta {beta:g}": plan(difficulties, cluster, Curriculum(epochs=20, T=0.5, beta=beta)) for beta in (0, *BETAS)
    }
    other["beta 12, K 1"] = plan(difficulties, np.zeros(N, dtype=int), Curriculum(epochs=20, T=0.5))
    return {name: moved(base, schedule, 10) for name, schedule in other.items()}


def optima() -> Figures:
    """Small instances by brute force: does the exact optimum depend on beta, and what does the one order lose?"""
    rng = np.random.default_rng(2)
    n, trials = 12, 300
    subsets = (np.arange(1 << n)[:, None] >> np.arange(n) & 1).astype(bool)
    best: dict[float, list[int]] = {beta: [] for beta in BETAS}
    ratio: dict[float, list[float]] = {beta: [] for beta in BETAS}
    for _ in range(trials):
        gain, cluster = rng.gamma(2.0, 0.5, n), rng.integers(0, 3, n)
        budget = 0.4 * float(gain.sum())
        cost = subsets @ gain
        roots = sum(np.sqrt(subsets[:, cluster == k].sum(axis=1)) for k in range(3))
        for beta in BETAS:
            value = np.where(cost <= budget, cost + beta * roots, -1.0)
            best[beta].append(int(value.argmax()))
            ratio[beta].append(solve(gain, cluster, beta, budget).value / float(value.max()))
    return {
        "optimum differs from that of beta 12": {
            f"{beta:g}": float(np.mean(np.array(best[beta]) != np.array(best[12.0]))) for beta in BETAS
        },
        "least ratio of structured": {f"{beta:g}": float(np.min(ratio[beta])) for beta in BETAS},
        "mean ratio of structured": {f"{beta:g}": float(np.mean(ratio[beta])) for beta in BETAS},
    }


def one_order() -> bool:
    """Whether the greedy order is the same array for every beta > 0."""
    gain, cluster = offers(np.random.default_rng(0), 1.3)
    orders = [build(gain, cluster, beta, float(gain.sum()))[0].order for beta in BETAS]
    return all(np.array_equal(order, orders[0]) for order in orders)


WEIGHTS = {
    "around one half, Beta(2, 2)": lambda rng, n: rng.beta(2, 2, n),
    "spread, uniform": lambda rng, n: rng.uniform(0, 1, n),
    "nearly 0 or 1, Beta(0.1, 0.1)": lambda rng, n: rng.beta(0.1, 0.1, n),
}


def rankings() -> Figures:
    """Difficulty of steps (Eq. 8) with three normalisations of synthetic weights over random token losses."""
    result = {}
    for name, draw in WEIGHTS.items():
        for together in (False, True):
            rng = np.random.default_rng(3)
            steps = rng.integers(2, 9, N)
            tokens = rng.integers(6, 31, int(steps.sum()))
            loss = rng.gamma(0.5, 1.5, int(tokens.sum()))
            weight = draw(rng, len(loss))
            if together:  # the same weights, the larger ones on the larger losses (rank correlation about 0.7)
                score = np.argsort(np.argsort(loss)) / len(loss) + rng.uniform(0, 1, len(loss))
                weight = np.sort(weight)[np.argsort(np.argsort(score))]
            found = difficulties(weight, loss, tokens)
            label = f"{name}; weights {'follow losses' if together else 'independent of losses'}"
            result[label] = compare(found, steps)
    return result


def difficulties(weight: np.ndarray, loss: np.ndarray, tokens: np.ndarray) -> dict[str, np.ndarray]:
    begin = np.cumsum(tokens) - tokens

    def mean(share: np.ndarray) -> np.ndarray:
        return np.add.reduceat(share * loss, begin) / np.maximum(np.add.reduceat(share, begin), 1e-300)

    return {"softmax": mean(np.exp(weight)), "normalised": mean(weight), "uniform": mean(np.ones_like(weight))}


def compare(found: dict[str, np.ndarray], steps: np.ndarray) -> Figures:
    rng = np.random.default_rng(4)
    pairs = rng.integers(0, len(found["softmax"]), (2, 1_000_000))
    schedule = {
        name: plan(np.split(d, np.cumsum(steps)[:-1]), np.zeros(len(steps), dtype=int), Curriculum(epochs=20, T=0.5))
        for name, d in found.items()
    }
    result: Figures = {}
    for other in ("normalised", "uniform"):
        a, b = found["softmax"], found[other]
        flips = np.sign(a[pairs[0]] - a[pairs[1]]) * np.sign(b[pairs[0]] - b[pairs[1]]) < 0
        ranks = [np.argsort(np.argsort(x)) for x in (a, b)]
        result[f"softmax against {other}"] = {
            "rank correlation": float(np.corrcoef(*ranks)[0, 1]),
            "pairs of steps in the other order": float(flips.mean()),
            "mean ratio of difficulty": float(b.mean() / a.mean()),
            "changed (rationale, stage)": moved(schedule["softmax"], schedule[other], 10),
        }
    return result


def learned(folder: Path) -> Figures:
    """Weights of a trained weighter: how they spread within a step, and what the normalisation does to losses."""
    from kpod import schemas

    table = schemas.read(folder / "weights.parquet", schemas.WEIGHTS).to_pylist()
    weight = np.concatenate([row["weight"] for row in table])
    step = [np.asarray(row["step"]) for row in table]
    steps = np.array([int(one.max()) + 1 for one in step])
    first = np.cumsum(steps) - steps
    place = np.concatenate([one + at for one, at in zip(step, first, strict=True)])
    used = np.flatnonzero(np.bincount(place, minlength=int(steps.sum())))  # a step may have no token
    tokens = np.bincount(place)[used]
    begin = np.cumsum(tokens) - tokens
    ratio = np.maximum.reduceat(weight, begin) / np.maximum(np.minimum.reduceat(weight, begin), 1e-9)
    result: Figures = {
        "rationales": len(table),
        "tokens": len(weight),
        "quantiles of the weights, 1 5 25 50 75 95 99%": np.quantile(weight, QUANTILES).round(4).tolist(),
        "largest / smallest weight of a step, quartiles": np.quantile(ratio, [0.25, 0.5, 0.75]).round(2).tolist(),
    }
    alive = np.bincount(np.repeat(np.arange(len(steps)), steps)[used], minlength=len(steps))
    for together in (False, True):
        rng = np.random.default_rng(5)
        loss = rng.gamma(0.5, 1.5, len(weight))
        if together:
            score = np.argsort(np.argsort(weight)) / len(weight) + rng.uniform(0, 1, len(weight))
            loss = np.sort(loss)[np.argsort(np.argsort(score))]
        label = f"synthetic losses, {'following the weights' if together else 'independent'}"
        result[label] = compare(difficulties(weight, loss, tokens), alive[alive > 0])
    return result


def scored(weights: Path, losses: Path, count: int) -> Figures:
    """The same with the losses that the student has on the first `count` rationales."""
    from kpod.difficulty.stage import token_losses
    from kpod.text.rationales import read_rationales
    from kpod.tokens.rows import tokenise
    from kpod.training import models
    from kpod.training.examples import usable
    from kpod.training.weights import read_weights, weighted

    model, tokenizer = models.load(losses / "base" / "student", "fp32")
    known = tokenise(tokenizer, read_rationales(losses / "questions", losses / "rationales", losses / "steps"))
    examples = weighted(usable(known, 512)[0], read_weights(weights, known))[0][:count]
    loss = token_losses(model, int(tokenizer.pad_token_id), examples, 4096).values
    weight = examples.weight.flat(examples.rows)
    tokens = [np.unique(known.step[row], return_counts=True)[1] for row in examples.rows]
    alive = np.array(list(map(len, tokens)))
    ranks = [np.argsort(np.argsort(x)) for x in (weight, loss)]
    return {
        "rationales": len(examples),
        "steps": int(alive.sum()),
        "tokens": len(loss),
        "mean loss, nats": float(loss.mean()),
        "rank correlation of weight and loss": float(np.corrcoef(*ranks)[0, 1]),
        **compare(difficulties(weight, loss, np.concatenate(tokens)), alive),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--losses", type=Path)
    parser.add_argument("--score", type=int, default=0)
    options = parser.parse_args()
    result: Figures = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    if options.weights is None:
        result |= {
            "one order for every beta": one_order(),
            "clusters alike": selections(1.0),
            "clusters of unlike difficulty": selections(1.3),
            "schedules, share that differs from beta 12, K 5": schedules(),
            "small instances": optima(),
            "rankings": rankings(),
        }
    elif options.score:
        result["learned weights and the student's losses"] = scored(options.weights, options.losses, options.score)
    else:
        result["learned weights"] = learned(options.weights)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(RESULT.read_text())


if __name__ == "__main__":
    main()
