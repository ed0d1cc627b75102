"""The form for our own engine, which lays out the tokens of the prompt itself."""

from __future__ import annotations

from decoding.protocol import CompletionOptions, CompletionRequest
from lsp_server.engine.adapters import Wanted


class OwnEngine:
    """The adapter of `decoding serve`."""

    def render(self, wanted: Wanted) -> CompletionRequest:
        """The request to send."""
        return CompletionRequest(
            prompt=wanted.prefix,
            suffix=wanted.suffix,
            max_tokens=wanted.max_tokens,
            n=wanted.num_choices,
            stream=True,
            tabcast=CompletionOptions(
                path=wanted.path,
                language=wanted.language,
                repo=wanted.repo,
                context=wanted.context,
                session=wanted.session,
                draft_texts=wanted.hints,
                line_mode=wanted.mode,
                confidence=True,
                priority="idle" if wanted.is_idle else "normal",
            ),
        )
