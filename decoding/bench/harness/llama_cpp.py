"""Runs llama.cpp as a baseline: equal weights, exported to GGUF, by its own server (the `xllamacpp` package).

Prompts go in as token ids and tokens come back, since llama.cpp can't know our tokenizer's split pattern. Times are its
own: up to the first token, and from there to the last; the transport is not counted.
"""

from __future__ import annotations

import http.client
import json
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from decoding.bench.harness.baselines import Generate
from decoding.drafters.draft_model import MAX_DRAFT, MIN_PROBABILITY
from decoding.errors import TabcastError
from decoding.models import gguf_export

SELECTOR = "llama.cpp"
PLAIN = {f"{SELECTOR}-bf16": "bf16", f"{SELECTOR}-q8_0": "q8_0"}
DRAFT = f"{SELECTOR}-q8_0-draft"
NGRAM = f"{SELECTOR}-q8_0-ngram"
NAMES = (*PLAIN, DRAFT, NGRAM)
ADVICE = "the llama.cpp baseline needs the `xllamacpp` package: pip install 'tabcast[bench]'"

# measured: the best of the n-gram modes and sizes on our own prompts; llama.cpp's defaults seldom find a match there.
# Its ngram-mod remembers earlier answers: on prompts that are asked several times it would be a recording.
NGRAM_MATCH = 2
NGRAM_DRAFT = 3


@contextmanager
def generators(
    target: Path, draft: Path | None, names: Sequence[str], *, num_tokens: int, max_len: int
) -> Iterator[dict[str, Generate]]:
    """Yield, for each name, a function as in `baselines.generators`; models and servers are gone when the context ends.

    Raises:
        TabcastError: a package is missing, or llama.cpp refuses the model.
    """
    xllamacpp = _package()
    with tempfile.TemporaryDirectory(prefix="tabcast-gguf-") as folder:
        files = {}
        for kind in sorted({_kind(name) for name in names}):
            files[kind] = Path(folder) / f"target-{kind}.gguf"
            gguf_export.export(target, files[kind], kind, has_stops=False)
        draft_file = None
        if draft is not None and DRAFT in names:
            draft_file = Path(folder) / "draft.gguf"
            gguf_export.export(draft, draft_file, "q8_0", has_stops=False)
        servers = {
            name: Server(files[_kind(name)], max_len=max_len, speculation=_speculation(xllamacpp, name, draft_file))
            for name in names
            if name != DRAFT or draft_file is not None
        }
        yield {name: _generator(server, num_tokens) for name, server in servers.items()}
        servers.clear()


def describe(name: str) -> str:
    """Return the settings of a baseline, for the report."""
    modes = {
        DRAFT: f", draft model in q8_0, draft-max {MAX_DRAFT}, draft-p-min {MIN_PROBABILITY}",
        NGRAM: f", ngram-simple, size-n {NGRAM_MATCH}, size-m {NGRAM_DRAFT}",
    }
    built = " ".join(_package().get_system_info().replace(" = 1", "").replace("|", "").replace(" :", "").split())
    threads = torch.get_num_threads()
    return f"{_kind(name)} weights{modes.get(name, '')}, {threads} threads, one slot, only top-k 1; build: {built}"


class Server:
    """Runs llama.cpp's server for one model in this process, on a port of the loopback, with a random key."""

    def __init__(self, file: Path, *, max_len: int, speculation: Callable[[Any], None] = lambda _: None) -> None:
        xllamacpp = _package()
        settings = xllamacpp.CommonParams()
        settings.model.path = str(file)
        settings.n_ctx = max_len
        settings.n_parallel = 1
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = torch.get_num_threads()
        settings.verbosity = -1
        self._key = secrets.token_hex(16)
        settings.api_keys = [self._key]
        speculation(settings.speculative)
        try:
            self._server = xllamacpp.Server(settings)
        except RuntimeError as error:
            raise TabcastError(f"llama.cpp can't load {file.name}: {error}") from None
        self._address = self._server.listening_address.removeprefix("http://")

    def complete(self, prompt_ids: Sequence[int], num_tokens: int) -> tuple[list[int], float, float]:
        """Return (new ids, seconds to the first, seconds for the others), greedy and from an empty cache."""
        request = {
            "prompt": list(prompt_ids),
            "n_predict": num_tokens,
            "samplers": ["top_k"],
            "top_k": 1,
            "temperature": 0,
            "ignore_eos": True,
            "cache_prompt": False,
            "return_tokens": True,
        }
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        connection = http.client.HTTPConnection(self._address)
        connection.request("POST", "/completion", json.dumps(request), headers)
        with connection.getresponse() as response:
            answer = json.load(response)
        connection.close()
        if "tokens" not in answer:
            raise TabcastError(f"llama.cpp answers: {answer.get('error', answer)}")
        timings = answer["timings"]
        return answer["tokens"], timings["prompt_ms"] / 1e3, max(1e-9, timings["predicted_ms"] / 1e3)


def _package() -> Any:
    try:
        import xllamacpp  # type: ignore[import-untyped]  # noqa: PLC0415 - optional
    except ImportError:
        raise TabcastError(ADVICE) from None
    return xllamacpp


def _kind(name: str) -> str:
    return PLAIN.get(name, "q8_0")


def _speculation(xllamacpp: Any, name: str, draft_file: Path | None) -> Callable[[Any], None]:
    """Return the function that sets llama.cpp's `speculative` parameters for a row's name."""
    kinds = xllamacpp.common_speculative_type

    def draft(settings: Any) -> None:
        settings.types = [kinds.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
        settings.draft.mparams.path = str(draft_file)
        settings.draft.n_max, settings.draft.p_min = MAX_DRAFT, MIN_PROBABILITY
        threads = torch.get_num_threads()
        settings.draft.cpuparams.n_threads = settings.draft.cpuparams_batch.n_threads = threads

    def ngram(settings: Any) -> None:
        settings.types = [kinds.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
        settings.ngram_simple.size_n, settings.ngram_simple.size_m = NGRAM_MATCH, NGRAM_DRAFT

    return {DRAFT: draft, NGRAM: ngram}.get(name, lambda _: None)


def _generator(server: Server, num_tokens: int) -> Generate:
    return lambda prompt_ids: server.complete(prompt_ids, num_tokens)
