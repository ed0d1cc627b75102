"""Implements a plain instruction for models that follow some, with the marks of ChatML between the turns."""

from __future__ import annotations

from typing import Final

from lsp_server.edits.formats.form import Asked
from lsp_server.edits.window import Window

_SYSTEM: Final = (
    "You finish edits of code. The user has just edited a file; what you get is a part of it that may not fit these"
    " edits yet. Write that part again, with only the changes that the edits make necessary, such as a name, an"
    " argument or a value that has to follow. If nothing has to change, write it exactly as it is. Write code alone."
)
_FENCE: Final = "```"


class Instruct:
    """The format of instruct models whose turns stand between `<|im_start|>` and `<|im_end|>`."""

    def render(self, window: Window) -> Asked:
        """Return the prompt for a window."""
        edits = "".join(_edit("".join(one.old), "".join(one.new)) for one in window.recent)
        around = "".join(window.above)
        text = f"File {window.path}\n\nEdits of the user, the last one at the end:\n{edits}\n"
        if around.strip():
            text += f"Above the part stands:\n{_fenced(around)}\n"
        text += f"Write this part again:\n{_fenced(''.join(window.region))}"
        turns = [("system", _SYSTEM), ("user", text)]
        parts = [""]
        for name, said in turns:
            parts += ["<|im_start|>", f"{name}\n{said}", "<|im_end|>", "\n"]
        parts += ["<|im_start|>", f"assistant\n{_FENCE}{window.language}\n{''.join(window.begun)}"]
        rest = "".join(window.region[window.num_begun :])
        return Asked(parts=tuple(parts), draft=f"{rest}{_FENCE}", stops=(f"\n{_FENCE}",))

    def read(self, window: Window, output: str, *, is_whole: bool) -> str | None:
        """Return the region's new text as far as it is written."""
        text = "".join(window.begun) + ("" if output.startswith(_FENCE) else output)
        return text + "\n" if is_whole and not text.endswith("\n") else text


def _edit(old: str, new: str) -> str:
    return f"Original:\n{_fenced(old)}Updated:\n{_fenced(new)}"


def _fenced(text: str) -> str:
    return f"{_FENCE}\n{text}{_FENCE}\n"
