"""Defines what is known of a server that isn't ours: the facts that its adapter needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from decoding.protocol import FIM_TEMPLATES, FimTemplate, name_of_template

# chosen: only our own engine has a second greedy answer; another server has to sample one.
CHOICES_TEMPERATURE: Final = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What a server runs.

    `fim` is a name of the table, "server" where the server lays out the prompt, or "none". `context_tokens` 0 is
    unknown; `told_context` is what the user's file says of it.
    """

    kind: str
    model: str
    fim: str = "none"
    context_tokens: int = 0
    told_context: int = 0

    @property
    def template(self) -> FimTemplate | None:
        """The tokens by which we lay out the prompt, None where we don't."""
        return FIM_TEMPLATES.get(self.fim)


# Kinds whose servers take the text on both sides of the cursor and lay it out by their model's own rules.
SUFFIX_KINDS: Final = ("sglang", "openai", "mistral")
# Kinds that do so if we don't know the model's tokens.
ABLE_KINDS: Final = ("llama.cpp", "ollama")


def fim_for(kind: str, model: str, wanted: str) -> str:
    """Return the form of the prompt for a model: what the user wants, or what suits the kind and the model's name."""
    if wanted != "auto":
        return wanted
    if kind in SUFFIX_KINDS:
        return "server"
    return name_of_template(model) or ("server" if kind in ABLE_KINDS else "none")
