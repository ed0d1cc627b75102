"""Implements the adapter for SGLang, which lays out a `suffix` where it was started with `--completion-template`.

Without that option it ignores the suffix and says nothing: then `fim` names the model's tokens.
"""

from __future__ import annotations

from lsp_server.engine.adapters.openai import OpenAI


class SGLang(OpenAI):
    """The adapter of SGLang's server, for which nobody pays by the request."""

    is_metered = False
