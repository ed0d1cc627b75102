"""Implements `python -m lsp_server request`: what an editor would ask an engine between two texts.

It serves `tabcast bench`, which may not know the front end: one JSON object a line with `prefix`, `suffix`, `path`,
`repo` and `max_tokens` on standard input, one with `request` a line on standard output: the body of the request, or
null where nothing would be asked. The language is told from the path.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import PurePosixPath
from urllib.parse import quote

from decoding.protocol import CompletionRequest
from lsp_server.cli.filter import read_place
from lsp_server.completion.build_request import build_request
from lsp_server.completion.trigger import decide
from lsp_server.documents.embedded import embedded
from lsp_server.languages.file_names import language_of
from lsp_server.settings import Settings


def run(_options: argparse.Namespace) -> int:
    """Build a request for each line of standard input and return the exit code."""
    for line in sys.stdin:
        request = asked(**json.loads(line))
        print(json.dumps({"request": None if request is None else request.to_json()}), flush=True)
    return 0


def asked(prefix: str, suffix: str, path: str, repo: str, max_tokens: int) -> CompletionRequest | None:
    """Return the request of an editor that asks by hand and has the repository open."""
    folder = f"file:///{quote(PurePosixPath(repo).name or 'project')}"
    language = language_of(PurePosixPath(path))
    snapshot, cursor = read_place(prefix, suffix, language, uri=f"{folder}/{quote(path)}")
    place, within = embedded(snapshot.place(cursor), language)
    mode = decide(place, is_invoked=True, language=within).mode
    if mode is None:
        return None
    settings = Settings()
    most = min(max_tokens, settings.max_line_tokens)
    settings = replace(settings, max_block_tokens=max_tokens, max_line_tokens=most)
    return build_request(snapshot, cursor, mode, settings, [folder])
