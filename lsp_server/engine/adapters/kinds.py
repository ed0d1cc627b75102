"""Chooses the adapter of a server by its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from lsp_server.engine.adapters import Adapter
from lsp_server.engine.adapters.llama_cpp import LlamaCpp
from lsp_server.engine.adapters.mistral import Mistral
from lsp_server.engine.adapters.ollama import Ollama
from lsp_server.engine.adapters.openai import OpenAI
from lsp_server.engine.adapters.own import OwnEngine
from lsp_server.engine.adapters.server import ServerFacts
from lsp_server.engine.adapters.sglang import SGLang
from lsp_server.engine.adapters.vllm import VLLM

_ADAPTERS: Final[Mapping[str, Callable[[ServerFacts], Adapter]]] = {
    "tabcast": lambda _facts: OwnEngine(),
    "vllm": VLLM,
    "sglang": SGLang,
    "llama.cpp": LlamaCpp,
    "ollama": Ollama,
    "openai": OpenAI,
    "mistral": Mistral,
}


def adapter_for(facts: ServerFacts) -> Adapter:
    """Return the adapter for a server."""
    return _ADAPTERS[facts.kind](facts)
