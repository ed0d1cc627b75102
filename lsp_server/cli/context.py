"""Implements `python -m lsp_server context`: the context that would go with a request, given some open files.

It serves `tabcast bench`, which may not know the sources: one JSON object a line with `path`, `prefix`, `suffix`,
`open_files` (objects with `path` and `text`, the last visited first), `sources` (their names; "auto" is what an editor
gets) and `context_tokens` on standard input, one with `files` a line on standard output.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from decoding.protocol import ContextFile
from lsp_server.context.ranking import room_for, room_in
from lsp_server.context.snippets import SOURCES, EditorState, OpenDocument
from lsp_server.context.worker import ContextWorker
from lsp_server.documents.store import split_lines
from lsp_server.languages.file_names import language_of


def run(_options: argparse.Namespace) -> int:
    """Gather context for each line of standard input and return the exit code."""
    for line in sys.stdin:
        files = gather(json.loads(line))
        print(json.dumps({"files": [{"path": file.path, "text": file.text} for file in files]}), flush=True)
    return 0


def gather(given: dict[str, Any]) -> tuple[ContextFile, ...]:
    """Gather the context of a document that lies with the open files in a workspace of its own."""
    tokens, names = given["context_tokens"], given["sources"]
    room, sources = (room_for(tokens), SOURCES) if names == ["auto"] else (room_in(tokens), tuple(names))
    if not room or not sources:
        return ()
    with TemporaryDirectory(prefix="tabcast-context-") as folder:
        root = Path(folder).resolve()
        opened = [_document(root, file["path"], file["text"]) for file in given["open_files"]]
        line = given["prefix"].count("\n")
        view = EditorState(
            current=_document(root, given["path"], given["prefix"] + given["suffix"], line),
            others=tuple(opened),
            sources=sources,
            max_chars=room,
        )
        worker = ContextWorker()
        try:
            worker.start([root])
            return worker.gather(view, ()).result()
        finally:
            worker.close()


def _document(root: Path, path: str, text: str, line: int = -1) -> OpenDocument:
    file = root / path
    if root not in file.resolve().parents:
        raise ValueError(f"{path} lies outside of the workspace")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    lines = tuple(split_lines(text))
    return OpenDocument(
        uri=file.as_uri(), path=path, file=file, language=language_of(file), revision=0, lines=lines, line=line
    )
