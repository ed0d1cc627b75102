"""Imports that a change has made due, and the many cases in which nothing is sure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lsp_server.documents.store import Cursor
from lsp_server.edits import imports
from lsp_server.edits.find import find_edits
from tests.lsp.test_edits import Editor

CODE = "def f(path):\n    return 1\n"
FUTURE = "from __future__ import annotations\n\n"


def changed(text: str, old: str, new: str, language: str = "python") -> Editor:
    editor = Editor(text, language)
    editor.change(old, new)
    return editor


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("import json\nimport sys\n", "import json\nimport os\nimport sys\n"),
        ("import sys\n", "import os\nimport sys\n"),
        ("import json\n", "import json\nimport os\n"),
        ("import json\nfrom a import b\n", "import json\nimport os\nfrom a import b\n"),
        (f"{FUTURE}from typing import Any\n\nimport a\n", f"{FUTURE}import os\nfrom typing import Any\n\nimport a\n"),
        (f"{FUTURE}import a\n", f"{FUTURE}import os\n\nimport a\n"),
        ('"""About f.\n\nimport json\n"""\n\n\n', '"""About f.\n\nimport json\n"""\n\n\nimport os\n\n\n'),
        ("", "import os\n\n\n"),
    ],
)
def test_a_standard_module_is_imported_where_it_belongs(head: str, expected: str) -> None:
    editor = changed(head + CODE, "return 1", "return os.listdir(path)")
    assert editor.follow() == expected + CODE.replace("return 1", "return os.listdir(path)")


def test_line_ends_stay_and_two_modules_come_one_after_the_other() -> None:
    editor = changed("import json\r\n\r\nx = 1\r\n", "1", "re.escape(os.sep)")
    assert editor.follow() == "import json\r\nimport os\r\nimport re\r\n\r\nx = re.escape(os.sep)\r\n"


@pytest.mark.parametrize(
    ("text", "new"),
    [
        ("import json\nx = 1\n", "queue.get()"),  # a name that may be anybody's
        ("import json\nx = 1\n", "os"),
        ("import json\nx = 1\n", "a.os.path"),
        ("import json\nx = 1\n", "'os.path'"),
        ("import json\nx = 1  # os.path\n", "2"),
        ("import os\nx = 1\n", "os.path"),
        ("import a as os\nx = 1\n", "os.path"),
        ("from a import os\nx = 1\n", "os.path"),
        ("from a import *\nx = 1\n", "os.path"),
        ("import json\nos = 3\nx = 1\n", "os.path"),
        ("import json\ndef f(os):\n    x = 1\n", "os.path"),
        ("import json\nfor os in y:\n    x = 1\n", "os.path"),
        ("import json\ntry:\n    import os\nexcept ImportError:\n    pass\nx = 1\n", "os.path"),
        ("import json\ny = os.sep\nx = 1\n", "os.path"),  # it has been used without an import
        ("import json\nx = os.sep + 1\n", "os.path"),
    ],
)
def test_no_module_is_imported_where_that_is_not_sure(text: str, new: str) -> None:
    assert changed(text, "1", new).due() is None


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("python", "import os\nimport sys\n\nUSE(os)\nsys.exit()\n", "import sys\n\nUSE()\nsys.exit()\n"),
        ("python", "import a.os as os\n\nUSE(os)\n", "\nUSE()\n"),
        ("python", "import os, sys\n\nUSE(os)\nsys\n", "import sys\n\nUSE()\nsys\n"),
        ("python", "import sys, os\n\nUSE(os)\nsys\n", "import sys\n\nUSE()\nsys\n"),
        ("python", "from os import os\n\nUSE(os)\n", "\nUSE()\n"),
        ("python", "from x import a, b as os, c\n\nUSE(os)\na, c\n", "from x import a, c\n\nUSE()\na, c\n"),
        (
            "python",
            "from x import (\n    a,\n    os,\n)\n\nUSE(os)\na\n",
            "from x import (\n    a,\n)\n\nUSE()\na\n",
        ),
        ("python", "from x import (a, os)\n\nUSE(os)\na\n", "from x import (a)\n\nUSE()\na\n"),
        ("python", "import os\r\n\r\nUSE(os)\r\n", "\r\nUSE()\r\n"),
        ("typescript", 'import { os } from "x";\nUSE(os);\n', "USE();\n"),
        ("typescript", 'import os from "x";\nUSE(os);\n', "USE();\n"),
        ("typescriptreact", "import * as os from 'x'\nUSE(os)\n", "USE()\n"),
        ("typescript", 'import { a, type os, c } from "x";\nUSE(os);a;c\n', 'import { a, c } from "x";\nUSE();a;c\n'),
        ("typescript", 'import { a, b as os } from "x";\nUSE(os);a\n', 'import { a } from "x";\nUSE();a\n'),
        (
            "typescript",
            'import {\n  a,\n  os,\n} from "x";\nUSE(os);a\n',
            'import {\n  a,\n} from "x";\nUSE();a\n',
        ),
    ],
)
def test_an_import_goes_with_its_last_use(language: str, text: str, expected: str) -> None:
    assert changed(text, "USE(os)", "USE()", language).follow() == expected


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("python", "import os\n\nUSE(os)\nos.sep\n"),
        ("python", "import os\n\nUSE(os)\n# os\n"),
        ("python", 'import os\n\nUSE(os)\nx: "os.PathLike"\n'),
        ("python", "import os  # noqa: F401\n\nUSE(os)\n"),
        ("python", "import os\n__all__ = ['a']\nUSE(os)\n"),
        ("python", "try:\n    import os\nexcept ImportError:\n    pass\nUSE(os)\n"),
        ("python", "import os\ndef f(os):\n    return 1\nUSE(os)\n"),
        ("python", "import os\nimport a as os\nUSE(os)\n"),
        ("python", "from __future__ import os\nUSE(os)\n"),
        ("python", "import os; x = 1\nUSE(os)\n"),
        ("python", "os = 1\nUSE(os)\n"),
        ("go", 'import "os"\nUSE(os)\n'),
        ("typescript", 'import os, { a } from "x";\nUSE(os);a\n'),
        ("typescript", 'import a, { os } from "x";\nUSE(os);a\n'),
        ("typescript", 'import { os } from "x"; // for its effects\nUSE(os);\n'),
        ("typescript", 'import { os } from "x";\nUSE(os);\nexport { os };\n'),
        ("typescript", 'import "os";\nUSE(os);\n'),
    ],
)
def test_an_import_stays_where_it_may_be_needed(language: str, text: str) -> None:
    assert changed(text, "USE(os)", "USE()", language).due() is None


def test_react_is_used_by_every_tag() -> None:
    text = 'import React from "react";\nReact.memo(a);\nx = <a />;\n'
    assert changed(text, "React.memo(a)", "a", "typescriptreact").due() is None


def test_a_document_that_shares_its_names_is_left_alone() -> None:
    editor = changed("import json\nx = 1\n", "1", "os.sep")
    question = editor.edits.question(editor.snapshot, Cursor(0, 0))
    assert question.is_alone
    assert find_edits(question)
    for uri in ("vscode-notebook-cell:/a.ipynb#1", "file:///a/__init__.py"):
        shared = replace(editor.snapshot, uri=uri)
        assert not editor.edits.question(shared, Cursor(0, 0)).is_alone
    assert not find_edits(replace(question, is_alone=False))


def test_the_modules_are_those_of_every_python_that_is_served() -> None:
    assert "os" in imports.MODULES
    assert not imports.MODULES & {"queue", "time", "string", "types", "code", "test", "copy", "select"}
