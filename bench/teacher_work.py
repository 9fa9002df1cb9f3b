"""One timed run, in a process of its own: bench/teacher.py starts it and reads the JSON line that it prints.

Usage: teacher_work.py kpod|httpx|httpx2|curator URL COUNT CONCURRENCY FOLDER
"""

import asyncio
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

TEXT = (
    "Rosa owns {} candles. Later she is given {} candles by a friend. She leaves {} candles at school."
    " Then she is given {} candles by a friend. How many candles does Rosa have at the end?"
)


def numbers(i: int) -> tuple[int, int, int, int]:
    """Different for the first 25,600 questions."""
    return 10 + i % 50, 2 + i // 50 % 8, 2 + i // 400 % 8, 2 + i // 3200 % 8


def question(i: int) -> str:
    """A word problem that the scripted teacher can work out."""
    return TEXT.format(*numbers(i))


def answer(i: int) -> str:
    """Its answer."""
    start, given, left, given_again = numbers(i)
    return str(start + given - left + given_again)


def with_kpod(url: str, count: int, concurrency: int, folder: Path) -> dict[str, float]:
    """The stage itself, from the table of questions to the table of rationales."""
    from kpod import schemas
    from kpod.config import OpenAIEndpoint, Teacher
    from kpod.teacher.stage import run

    os.environ["KPOD_HOME"] = str(folder / "home")
    rows = [
        {"id": f"q{i}", "dataset": "bench", "split": "train", "question": question(i), "answer": answer(i)}
        for i in range(count)
    ]
    (folder / "questions").mkdir(parents=True, exist_ok=True)
    (folder / "out").mkdir(exist_ok=True)
    schemas.write(folder / "questions" / "questions.parquet", schemas.table(rows, schemas.QUESTIONS))
    config = Teacher(
        endpoint=OpenAIEndpoint(base_url=url), concurrency=concurrency, **json.loads(os.environ.get("TEACHER", "{}"))
    )
    started = time.perf_counter()
    metrics = run({"questions": folder / "questions"}, config, folder / "out")
    return {**metrics, "stage_s": time.perf_counter() - started}


def with_bare(name: str, url: str, count: int, concurrency: int) -> dict[str, float]:
    """The least that a loop can do: post, read the text, forget it."""
    library = __import__(name)
    left = iter(range(count))

    def body(number: int) -> dict[str, Any]:
        messages = [{"role": "user", "content": f"Q: {question(number)}\nA: Let's think step by step."}]
        return {"model": "bench", "messages": messages, "temperature": 0.7, "max_tokens": 512, "seed": 0}

    async def work(client: Any) -> None:
        for number in left:
            response = await client.post(f"{url}/chat/completions", json=body(number))
            response.json()["choices"][0]["message"]["content"]

    async def main() -> None:
        limits = library.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        async with library.AsyncClient(limits=limits, timeout=60) as client:
            await asyncio.gather(*(work(client) for _ in range(concurrency)))

    asyncio.run(main())
    return {}


def with_curator(url: str, count: int, concurrency: int, folder: Path) -> dict[str, float]:
    """curator's own LLM class against the same server."""
    os.environ |= {
        "CURATOR_DISABLE_CACHE": "0",
        "CURATOR_CACHE_DIR": str(folder / "curator"),
        "OPENAI_API_KEY": "none",
        "CURATOR_VIEWER": "0",
        "TELEMETRY_ENABLED": "0",
        "CURATOR_DISABLE_RICH_DISPLAY": "1",
    }
    import tiktoken

    # curator counts tokens ahead for its rate limit, with a vocabulary that it downloads: here a byte is a token.
    vocabulary = {bytes([i]): i for i in range(256)}
    tokenizer = tiktoken.Encoding("bytes", pat_str=r"[\s\S]", mergeable_ranks=vocabulary, special_tokens={})
    tiktoken.get_encoding = tiktoken.encoding_for_model = lambda *_: tokenizer
    from bespokelabs import curator

    llm = curator.LLM(
        model_name="bench",
        backend="openai",
        generation_params={"temperature": 0.7, "max_tokens": 512, "seed": 0},
        backend_params={
            "base_url": url,
            "max_concurrent_requests": concurrency,
            "max_requests_per_minute": 10_000_000,
            "max_tokens_per_minute": 10_000_000_000,
            "request_timeout": 60,
        },
    )
    llm([f"Q: {question(i)}\nA: Let's think step by step." for i in range(count)])
    return {}


def main() -> None:
    """Run, then print what was measured."""
    kind, url, count, concurrency, folder = sys.argv[1:6]
    if kind == "kpod":
        found = with_kpod(url, int(count), int(concurrency), Path(folder))
    elif kind == "curator":
        found = with_curator(url, int(count), int(concurrency), Path(folder))
    else:
        found = with_bare(kind, url, int(count), int(concurrency))
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found["cpu_s"] = time.process_time()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
