"""Runs llama.cpp's own programs on a GGUF file: any build of them, for instance a distribution's package.

Prompts go in as token ids, so that both engines read the same tokens; answers come back with the two most likely tokens
of each place.
"""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from decoding.bench.harness import llama_program
from decoding.errors import TabcastError

ANSWER_S: Final = 600
SHOWN: Final = 400
FINAL: Final = re.compile(r"Final estimate: PPL = ([0-9.]+)")
CHUNKS: Final = re.compile(r"perplexity over (\d+) chunks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A token that llama.cpp chose, its log-probability, and by how much that exceeds the second most likely one's.

    Both are None for a token that ends within a character, because the server tells them only with text.
    """

    token_id: int
    log_probability: float | None = None
    gap: float | None = None


class LlamaServer:
    """Asks a server that runs. One request at a time."""

    def __init__(self, address: str, key: str) -> None:
        self._address, self._key = address, key

    def complete(self, prompt_ids: Sequence[int], num_tokens: int) -> list[Chosen]:
        """Return the greedy continuation, from an empty cache; it ends before an end token."""
        request = {
            "prompt": list(prompt_ids),
            "n_predict": num_tokens,
            "samplers": ["top_k"],
            "top_k": 1,
            "temperature": 0,
            "cache_prompt": False,
            "n_probs": 2,
            "return_tokens": True,
        }
        answer = self._ask("POST", "/completion", request)
        if "tokens" not in answer:
            raise TabcastError(f"llama.cpp answers: {str(answer.get('error', answer))[:SHOWN]}")
        told = deque(answer.get("completion_probabilities", ()))
        return [
            _chosen(told.popleft()) if told and told[0]["id"] == token_id else Chosen(token_id=token_id)
            for token_id in answer["tokens"]
        ]

    def _ask(self, method: str, path: str, body: object) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        with closing(http.client.HTTPConnection(self._address, timeout=ANSWER_S)) as connection:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer: dict[str, Any] = json.load(connection.getresponse())
        return answer


@contextmanager
def serve(program: str, file: Path, *, max_len: int, threads: int) -> Iterator[LlamaServer]:
    """Start llama-server on a file, and end it with the context. Raises `TabcastError` if it doesn't get ready."""
    options = ["-m", str(file), "-c", str(max_len), "-np", "1", "-t", str(threads), "-tb", str(threads)]
    with llama_program.running(Path(program), options) as (address, key, _):
        yield LlamaServer(address, key)


def perplexity(program: str, file: Path, text: str, *, chunk: int, threads: int) -> tuple[float, int]:
    """Return the perplexity that llama-perplexity finds of a text, and the number of its chunks of so many tokens."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".txt", newline="") as written:
        written.write(text)
        written.flush()
        command = [program, "-m", str(file), "-f", written.name, "-c", str(chunk), "-b", str(chunk)]
        with tempfile.TemporaryFile() as log:
            _started([*command, "-t", str(threads)], log).wait()
            log.seek(0)
            told = log.read().decode(errors="replace")
    found, chunks = FINAL.search(told), CHUNKS.search(told)
    if not found or not chunks:
        raise TabcastError(f"{program} tells no perplexity: {told.strip()[-SHOWN:]}")
    return float(found[1]), int(chunks[1])


def _started(command: Sequence[str], log: Any) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    except OSError as error:
        raise TabcastError(f"{command[0]} can't be started: {error.strerror}") from None


def _chosen(place: dict[str, Any]) -> Chosen:
    most = [float(token["logprob"]) for token in place["top_logprobs"][:2]]
    return Chosen(token_id=int(place["id"]), log_probability=float(place["logprob"]), gap=most[0] - most[-1])
