"""Runs llama.cpp as a baseline: a GGUF file as it is, or a folder's weights exported to one, by its own server.

The server is that of the `xllamacpp` package, or a program that the user names (`llama_program.py`). Prompts go in as
token ids and tokens come back, since llama.cpp can't know our tokenizer's split pattern. Times are its own: up to the
first token, and from there to the last; the transport is not counted.
"""

from __future__ import annotations

import http.client
import json
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from decoding.bench.harness import llama_program
from decoding.bench.harness.baselines import Generate
from decoding.drafters.draft_model import MAX_DRAFT, MIN_PROBABILITY
from decoding.errors import TabcastError
from decoding.installing import how_to_add
from decoding.models import gguf_export
from decoding.models.gguf.split_files import is_gguf

SELECTOR = "llama.cpp"
# Rows of a folder's weights, by the type that they are exported in.
EXPORTED = {
    f"{SELECTOR}-bf16": "bf16",
    f"{SELECTOR}-q8_0": "q8_0",
    f"{SELECTOR}-q8_0-draft": "q8_0",
    f"{SELECTOR}-q8_0-ngram": "q8_0",
}
# Rows of a GGUF file as it is.
PLAIN = f"{SELECTOR}-plain"
OF_FILE = (PLAIN, f"{SELECTOR}-draft", f"{SELECTOR}-ngram")
NAMES = (*EXPORTED, *OF_FILE)
ADVICE = f"the llama.cpp baseline needs the `xllamacpp` package: {how_to_add('xllamacpp')}"

# measured: the best of the n-gram modes and sizes on our own prompts; llama.cpp's defaults seldom find a match there.
# Its ngram-mod remembers earlier answers: on prompts that are asked several times it would be a recording.
NGRAM_MATCH = 2
NGRAM_DRAFT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A row's function, as in `baselines.generators`, and its settings for the report."""

    generate: Generate
    settings: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How llama.cpp is run; `draft` is a file, and `speculation` is "draft", "ngram" or ""."""

    file: Path
    draft: Path | None
    speculation: str
    max_len: int

    @property
    def threads(self) -> int:
        """The number of threads, which is torch's."""
        return torch.get_num_threads()

    def describe(self, weights: str, built_for: str) -> str:
        """Return the settings of a row, for the report."""
        mode = {
            "draft": f", draft model, draft-max {MAX_DRAFT}, draft-p-min {MIN_PROBABILITY}",
            "ngram": f", ngram-simple, size-n {NGRAM_MATCH}, size-m {NGRAM_DRAFT}",
        }.get(self.speculation, "")
        return f"{weights}{mode}, {self.threads} threads, one slot, only top-k 1; build: {built_for or 'not told'}"


@contextmanager
def generators(
    target: Path,
    draft: Path | None,
    names: Sequence[str],
    *,
    num_tokens: int,
    max_len: int,
    program: Path | None = None,
    tell: Callable[[str], None] = lambda what: None,
) -> Iterator[dict[str, Baseline]]:
    """Yield the rows of these names that fit the target; models and servers are gone when the context ends.

    Args:
        target: a GGUF file, which is read as it is, or a folder, which is exported.
        draft: the same; without one, its row is left out.
        names: of `NAMES`.
        num_tokens: of an answer.
        max_len: of prompt and answer.
        program: llama-server; None takes the package's.
        tell: is called with a sentence before each start.

    Raises:
        TabcastError: a package or the program is missing, or llama.cpp refuses the model.
    """
    fitting = [name for name in names if (name in OF_FILE) == is_gguf(target)]
    if not fitting:
        known = ", ".join(OF_FILE if is_gguf(target) else EXPORTED)
        raise TabcastError(f"{', '.join(names)} can't run {target}: its rows are {known}")
    with tempfile.TemporaryDirectory(prefix="tabcast-gguf-") as folder, ExitStack() as stack:
        servers = stack.enter_context(_held_servers())
        found: dict[str, Baseline] = {}
        for name in fitting:
            if (speculation := _speculation(name)) == "draft" and draft is None:
                continue
            tell(f"starting {name}")
            setting = Setting(
                file=_as_file(target, EXPORTED.get(name, ""), Path(folder)),
                draft=_as_file(draft, "q8_0", Path(folder)) if draft and speculation == "draft" else None,
                speculation=speculation,
                max_len=max_len,
            )
            if program is None:
                client, built_for = package_server(setting, servers)
            else:
                client, built_for = stack.enter_context(_program_server(program, setting))
            weights = f"{EXPORTED[name]} weights" if name in EXPORTED else "the same file"
            found[name] = Baseline(
                generate=_generator(client, num_tokens), settings=setting.describe(weights, built_for)
            )
        yield found


@dataclass(frozen=True, slots=True)
class Client:
    """Asks a server on the loopback that knows the key."""

    address: str
    key: str

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
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"}
        try:
            answer = self._ask(json.dumps(request), headers)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise TabcastError(f"llama.cpp's server doesn't answer: {type(error).__name__} {error}") from None
        timings = answer.get("timings") if isinstance(answer, dict) else None
        if not isinstance(timings, dict) or not answer.get("tokens"):
            told = answer.get("error", answer) if isinstance(answer, dict) else answer
            raise TabcastError(f"llama.cpp answers: {str(told)[: llama_program.MAX_SHOWN]}")
        return answer["tokens"], timings["prompt_ms"] / 1e3, max(1e-9, timings["predicted_ms"] / 1e3)

    def _ask(self, body: str, headers: Mapping[str, str]) -> Any:
        connection = http.client.HTTPConnection(self.address)
        try:
            connection.request("POST", "/completion", body, dict(headers))
            with connection.getresponse() as response:
                return json.load(response)
        finally:
            connection.close()


@contextmanager
def _held_servers() -> Iterator[list[object]]:
    """Keep the package's servers; they end in the order in which they started, since in another one they wait."""
    servers: list[object] = []
    try:
        yield servers
    finally:
        while servers:
            del servers[0]


def package_server(setting: Setting, servers: list[object]) -> tuple[Client, str]:
    """Run the package's server in this process as long as `servers` holds it.

    Returns:
        Who asks it, and what it was built for.
    """
    xllamacpp = _package()
    settings = xllamacpp.CommonParams()
    settings.model.path = str(setting.file)
    settings.n_ctx = setting.max_len
    settings.n_parallel = 1
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = setting.threads
    settings.verbosity = -1
    key = secrets.token_hex(16)
    settings.api_keys = [key]
    _set_speculation(xllamacpp, settings.speculative, setting)
    try:
        server = xllamacpp.Server(settings)
    except RuntimeError as error:
        raise TabcastError(f"llama.cpp can't load {setting.file.name}: {error}") from None
    built_for = " ".join(xllamacpp.get_system_info().replace(" = 1", "").replace("|", "").replace(" :", "").split())
    servers.append(server)
    return Client(server.listening_address.removeprefix("http://"), key), built_for


@contextmanager
def _program_server(program: Path, setting: Setting) -> Iterator[tuple[Client, str]]:
    threads = str(setting.threads)
    options = [
        *("-m", str(setting.file), "-c", str(setting.max_len), "-np", "1", "-t", threads, "-tb", threads),
        *("-lv", "4"),  # at this level it tells its instruction sets
    ]
    if setting.speculation == "draft":
        options += ["-md", str(setting.draft), "--spec-type", "draft-simple", "-td", threads, "-tbd", threads]
        options += ["--spec-draft-n-max", str(MAX_DRAFT), "--spec-draft-p-min", str(MIN_PROBABILITY)]
    if setting.speculation == "ngram":
        options += ["--spec-type", "ngram-simple", "--spec-ngram-simple-size-n", str(NGRAM_MATCH)]
        options += ["--spec-ngram-simple-size-m", str(NGRAM_DRAFT)]
    with llama_program.running(program, options) as (address, key, built_for):
        yield Client(address, key), built_for


def _as_file(model: Path, kind: str, folder: Path) -> Path:
    """Return the GGUF file of a model; a folder's is made in `folder`, once for each type."""
    if is_gguf(model):
        return model.resolve()
    file = folder / f"{model.name}-{kind}.gguf"
    if not file.exists():
        gguf_export.export(model, file, kind, has_stops=False)
    return file


def _speculation(name: str) -> str:
    last = name.rpartition("-")[2]
    return last if last in ("draft", "ngram") else ""


def _set_speculation(xllamacpp: Any, settings: Any, setting: Setting) -> None:
    kinds = xllamacpp.common_speculative_type
    if setting.speculation == "draft":
        settings.types = [kinds.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
        settings.draft.mparams.path = str(setting.draft)
        settings.draft.n_max, settings.draft.p_min = MAX_DRAFT, MIN_PROBABILITY
        settings.draft.cpuparams.n_threads = settings.draft.cpuparams_batch.n_threads = setting.threads
    elif setting.speculation == "ngram":
        settings.types = [kinds.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
        settings.ngram_simple.size_n, settings.ngram_simple.size_m = NGRAM_MATCH, NGRAM_DRAFT


def _package() -> Any:
    try:
        import xllamacpp  # type: ignore[import-untyped]  # noqa: PLC0415 - optional
    except ImportError:
        raise TabcastError(ADVICE) from None
    return xllamacpp


def _generator(client: Client, num_tokens: int) -> Generate:
    return lambda prompt_ids: client.complete(prompt_ids, num_tokens)
