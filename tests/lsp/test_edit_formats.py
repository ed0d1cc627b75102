"""What models for next edits are asked, text by text, and how their answers are read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lsp_server.documents.store import Cursor
from lsp_server.edits.formats import FORMATS, format_for
from lsp_server.edits.window import Recent, Window

RECENT = Recent(first=2, old=("def load(path):\n",), new=("def load(path, mode):\n",))
WINDOW = Window(
    path="a.py",
    language="python",
    first=2,
    region=("def load(path, mode):\n", "    return open(path)\n"),
    above=("import os\n", "\n"),
    below=("\n", "x = 1\n"),
    cursor=Cursor(1, 4),
    recent=(RECENT,),
    num_begun=1,
)
DIFF = "@@ -3,1 +3,1 @@\n-def load(path):\n+def load(path, mode):\n"
SWEEP = (
    "<|file_sep|>a.py\nimport os\n\ndef load(path, mode):\n    return open(path)\n\nx = 1\n\n"
    "<|file_sep|>a.py.diff\noriginal:\ndef load(path):\nupdated:\ndef load(path, mode):\n"
    "<|file_sep|>original/a.py:3:4\ndef load(path, mode):\n    return open(path)\n"
    "<|file_sep|>current/a.py:3:4\ndef load(path, mode):\n    <|cursor|>return open(path)\n"
    "<|file_sep|>updated/a.py:3:4\ndef load(path, mode):\n"
)
ZETA = (
    "### Instruction:\nYou are a code completion assistant and your task is to analyze user edits and then rewrite an"
    " excerpt that the user provides, suggesting the appropriate edits within the excerpt, taking into account the"
    ' cursor location.\n\n### User Edits:\n\nUser edited "a.py":\n```diff\n' + DIFF + "```\n\n### User Excerpt:\n\n"
    "```a.py\n<|start_of_file|>\nimport os\n\n<|editable_region_start|>\ndef load(path, mode):\n"
    "    <|user_cursor_is_here|>return open(path)\n<|editable_region_end|>\n\nx = 1\n```\n\n### Response:\n\n"
    "```a.py\n<|start_of_file|>\n<|editable_region_start|>\ndef load(path, mode):\n"
)
ZETA_2 = (
    "<[fim-suffix]>\nx = 1\n<[fim-prefix]><filename>edit_history\n--- a/a.py\n+++ b/a.py\n" + DIFF + "\n"
    "<filename>a.py\nimport os\n\n{open}\ndef load(path, mode):\n    <|user_cursor|>return open(path)\n{close}\n"
    "<[fim-middle]>"
)
INSTRUCT_END = (
    "<|im_start|>user\nFile a.py\n\nEdits of the user, the last one at the end:\nOriginal:\n```\ndef load(path):\n```\n"
    "Updated:\n```\ndef load(path, mode):\n```\n\nAbove the part stands:\n```\nimport os\n\n```\n\n"
    "Write this part again:\n```\ndef load(path, mode):\n    return open(path)\n```\n"
    "<|im_end|>\n<|im_start|>assistant\n```python\ndef load(path, mode):\n"
)
CHANGED = "def load(path, mode):\n    return open(path, mode)\n"


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("sweep", SWEEP),
        ("zeta", ZETA),
        ("zeta-2", ZETA_2.format(open="<<<<<<< CURRENT", close="=======")),
        ("zeta-2.1", ZETA_2.format(open="<|marker_1|>", close="<|marker_2|>")),
    ],
)
def test_a_prompt_is_as_the_model_was_taught(name: str, prompt: str) -> None:
    assert "".join(FORMATS[name].render(WINDOW).parts) == prompt


def test_an_instruct_model_gets_turns_and_the_beginning_of_its_answer() -> None:
    parts = FORMATS["instruct"].render(WINDOW).parts
    assert "".join(parts).endswith(INSTRUCT_END)
    assert list(parts[1::2]) == ["<|im_start|>", "<|im_end|>"] * 2 + ["<|im_start|>"]


@pytest.mark.parametrize("name", FORMATS)
def test_a_users_text_never_becomes_a_special_token(name: str) -> None:
    marks = ("<|im_end|>", "<|file_sep|>", "<[fim-middle]>", "<|endoftext|>")
    window = replace(WINDOW, region=tuple(f"{mark}\n" for mark in marks), cursor=Cursor(0, 0), num_begun=0)
    asked, plain = FORMATS[name].render(window).parts, FORMATS[name].render(WINDOW).parts
    assert asked[1::2] == plain[1::2]


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("sweep", "    return open(path, mode)\n\n"),
        ("zeta", "    return open(<|user_cursor_is_here|>path, mode)"),
        ("zeta-2", CHANGED.replace("path, mode):", "path, mode):<|user_cursor|>")),
        ("zeta-2.1", f"<|marker_1|>\n{CHANGED}"),
        ("instruct", "    return open(path, mode)"),
    ],
)
def test_an_answer_is_the_new_region_and_grows_as_it_comes(name: str, output: str) -> None:
    form = FORMATS[name]
    assert form.read(WINDOW, output, is_whole=True) == CHANGED
    for size in range(len(output)):
        part = form.read(WINDOW, output[:size], is_whole=False)
        assert part is None or CHANGED.startswith(part.rstrip("\n"))


@pytest.mark.parametrize("name", ["zeta-2", "zeta-2.1"])
def test_a_model_may_say_that_nothing_has_to_change(name: str) -> None:
    assert FORMATS[name].read(WINDOW, "NO_EDITS\n", is_whole=True) is None


def test_a_fence_right_behind_the_beginning_is_no_text() -> None:
    window = replace(WINDOW, num_begun=2)
    assert FORMATS["instruct"].read(window, "```\n", is_whole=True) == "".join(WINDOW.region)


@pytest.mark.parametrize("name", FORMATS)
def test_the_draft_of_an_answer_is_the_region_as_it_is(name: str) -> None:
    asked = FORMATS[name].render(WINDOW)
    output = asked.draft
    for stop in asked.stops:
        output = output.partition(stop)[0]
    assert FORMATS[name].read(WINDOW, output, is_whole=True) == "".join(WINDOW.region)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Qwen2.5-Coder-1.5B-Instruct, Q4_K_M", "instruct"),
        ("sweepai/sweep-next-edit-1.5B", "sweep"),
        ("zed-industries/zeta", "zeta"),
        ("zeta-2", "zeta-2"),
        ("Zeta_2.1", "zeta-2.1"),
        ("Qwen2.5-Coder-1.5B", None),
        ("bundled", None),
    ],
)
def test_a_models_name_tells_its_format(model: str, name: str | None) -> None:
    assert format_for(model) is (FORMATS[name] if name else None)
