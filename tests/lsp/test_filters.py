"""The filters, one table of cases each; `|` is the cursor."""

from __future__ import annotations

import ast
import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server.filters import FILTERS, NOTHING, Surroundings, end, filter_text
from lsp_server.filters.closers import num_replaced
from lsp_server.filters.end import find_end
from lsp_server.filters.parsing import parse_checker
from lsp_server.filters.rewriting import Rewriter, rewrite
from lsp_server.filters.surroundings import Mode
from tests.lsp.places import place_at

BODY = "def f():\n    |\n"
EMPTY = "|"

END_CASES: list[tuple[str, Mode, str, str]] = [
    ("x = |", "line", "1\ny = 2", "1"),
    ("x = |", "line", "\ny = 2", ""),
    ("x = |", "line", "1  ", "1"),
    (BODY, "block", "return 1\n", "return 1"),
    (BODY, "block", "return 1\n\n\ndef g():\n    pass", "return 1"),
    (BODY, "block", "a = 1\n    b = 2\n    return a\nx = 3", "a = 1\n    b = 2\n    return a"),
    (BODY, "block", "if a:\n        return 1\n    return 2\n", "if a:\n        return 1\n    return 2"),
    (BODY, "block", "if a:\n        b\n    else:\n        c\nd", "if a:\n        b\n    else:\n        c"),
    (BODY, "block", "a = 1\n\n    b = 2\n", "a = 1\n\n    b = 2"),
    (BODY, "block", "x = [\n        1,\n    ]\n    y\n", "x = [\n        1,\n    ]\n    y"),
    (BODY, "block", "def inner():\n        pass\n    return inner", "def inner():\n        pass\n    return inner"),
    ("def f():\n|\n", "block", "    return 1\nx", "    return 1"),
    ("def f():\n|\n", "block", "x = 1\n", ""),
    ("def f():|\n", "block", "\n    return 1\n\ndef g():", "\n    return 1"),
    ("def f():|\n", "block", " pass\nx = 1", " pass"),
    ("class A:\n    |\n", "block", "def a(self):\n        pass\n\n    def b(self):\n", "def a(self):\n        pass"),
    (
        "class A:\n    |\n",
        "block",
        "@property\n    def a(self):\n        x\n    @b",
        "@property\n    def a(self):\n        x",
    ),
    ("import os\n|\n", "block", "def f():\n    pass\n\n\nx = 1\n", "def f():\n    pass"),
    ("import os\n|\n", "block", "def f():\n    pass\nclass B:\n", "def f():\n    pass"),
    ("import os\n|\n", "block", "import sys\nimport re\n\nx = 1\n", "import sys\nimport re"),
    ("import os\n|\n", "block", "if a:\n    b\nelse:\n    c\nd = 1", "if a:\n    b\nelse:\n    c"),
    ("import os\n|\n", "block", "f(\n    1,\n)\ng()\n", "f(\n    1,\n)"),
    ("\tif a:\n\t\t|", "block", "b\n\t\tc\n\td", "b\n\t\tc"),
]


SPECIAL_TOKEN_CASES = [
    (EMPTY, "a = 1\n<|fim_middle|>b", "a = 1\n"),
    (EMPTY, "<|endoftext|>", ""),
    (EMPTY, "a<fim_suffix>b", "a"),
    (EMPTY, "a<[fim-prefix]>b", "a"),
    (EMPTY, "a<｜fim▁end｜>b", "a"),
    (EMPTY, "a<PRE>b", "a"),
    (EMPTY, "a[SUFFIX]b", "a"),
    (EMPTY, "a</s>", "a"),
    (EMPTY, "'<s>text</s>'", "'<s>text</s>'"),
    (EMPTY, "a < b | c > d", "a < b | c > d"),
    (EMPTY, "List[int]", "List[int]"),
    ("TOKENS = ['[SUFFIX]', |]", "'[SUFFIX]'", "'[SUFFIX]'"),
]

INVISIBLE_CASES = [
    (EMPTY, "a = '\u202e'", "a = '"),
    (EMPTY, "a\u200bb = 1", "a"),
    (EMPTY, "a = 1\x1b[0m", "a = 1"),
    (EMPTY, "a\tb\nc", "a\tb\nc"),
    ("s = 'a\u200bb'\n|", "t = 'a\u200bb'", "t = 'a\u200bb'"),
    (EMPTY, "'\U0001f469\u200d\U0001f4bb'", "'\U0001f469\u200d\U0001f4bb'"),
    (EMPTY, "'\u0645\u06cc\u200c\u062e'", "'\u0645\u06cc\u200c\u062e'"),
]

CHAT_CASES = [
    ("|", "const b = 2;\n```\nIn this code we add.", "javascript", "const b = 2;"),
    ("|", "```python\nx = 1\n```", "python", ""),
    ("|", "Sure! Here is the code:\nx = 1", "javascript", ""),
    ("|", "x = 1\n\nThis function adds two numbers.", "python", "x = 1"),
    ("|", "Here's the updated function:", "go", ""),
    ("|", "# Sure! Here is what it does.", "python", "# Sure! Here is what it does."),
    ("|", '"""Return the sum of two numbers.\n\n    Both must be positive numbers here.\n    """', "python", None),
    ("// |", "Returns the sum of both numbers.", "javascript", "Returns the sum of both numbers."),
    ("|", "```sh\nmake\n```", "markdown", "```sh\nmake\n```"),
    ("|", "Point p = new Point(1, 2)", "java", "Point p = new Point(1, 2)"),
    ("|", "SELECT name FROM users WHERE id", "sql", "SELECT name FROM users WHERE id"),
]

UNFINISHED_CASES: list[tuple[Mode, str, str]] = [
    ("block", "a = 1\n    b = unfini", "a = 1\n"),
    ("block", "a = unfini", ""),
    ("line", "a = call(unfini", "a = call("),
    ("line", "a = call(unfini)", "a = call(unfini)"),
    ("line", "a = 1\nb", "a = 1\nb"),
]

REPETITION_CASES = [
    ("/* ====|\n", "=" * 60 + " */", "=" * 60 + " */"),
    (EMPTY, "a = 1\nb = 2\nc = 3", "a = 1\nb = 2\nc = 3"),
    (EMPTY, "x.append(1)\nx.append(1)\nx.append(1)", "x.append(1)"),
    (EMPTY, "x()\nx()", "x()\nx()"),
    (EMPTY, "self.a = a\nself.a = a", "self.a = a"),
    ("    |", "self.a = a\n    self.a = a", "self.a = a"),
    (EMPTY, "self.a = a\n    self.a = a", "self.a = a\n    self.a = a"),
    (EMPTY, "a\nb\na\nb\na\nb\na", "a\nb"),
    (EMPTY, "f(a, b)(a, b)(a, b)(a, b)(a, b)", ""),
    (EMPTY, "x = 1\ny = f(a, b)(a, b)(a, b)(a, b)(a, b)\nz = 2", "x = 1"),
    (EMPTY, "# " + "-" * 70, "# " + "-" * 70),
    (EMPTY, "=" * 60, "=" * 60),
    (EMPTY, "# " + "-" * 200, ""),
    (EMPTY, "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]", "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]"),
    (EMPTY, "[" + "0, " * 30, ""),
    (EMPTY, "x = 1\ny = " + "()" * 30, "x = 1"),
    (EMPTY, "x" + ")" * 45, ""),
    (EMPTY, "a = {\n}\n}\n}", "a = {\n}\n}\n}"),
    (EMPTY, "a\n" + "}\n" * 8, "a\n}"),
    ("x = compute(1)\n|", "x = compute(1)", ""),
    ("x = compute(1)\nx = |", "compute(1)", ""),
    ("x = compute(1)\nx = |", "compute(2)", "compute(2)"),
    ("    pass\n    |", "pass", "pass"),
    (EMPTY, "return [e, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1", ""),
    ("x = [|", "2, 2, 2, 2, 2, 2, 2, 2", ""),
    (EMPTY, "a = 1\nx = f([2, 2, 2, 2, 2, 2, 2", "a = 1"),
    (EMPTY, "x = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10", ""),
    (EMPTY, "x = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]", "x = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"),
    (EMPTY, "x = [1, 2, 3, 4", "x = [1, 2, 3, 4"),
    (EMPTY, "x = 1000000000000", "x = 1000000000000"),
    (EMPTY, "b = []\n" + "".join(f"a{i} = {i}\n" for i in range(9)), "b = []\na0 = 0"),
    (EMPTY, "".join(f"a{i} = {i}\n" for i in range(5)), "".join(f"a{i} = {i}\n" for i in range(5))),
    (EMPTY, "".join(f"a{i} = {i}\n" for i in range(9)) + "f()", "".join(f"a{i} = {i}\n" for i in range(9)) + "f()"),
]

NEXT_LINE_CASES = [
    ("# --|\n# A\n# ------------\n", "----------", "----------"),
    ("def f():\n    |\n    return x", "y = 1\n    return x", "y = 1"),
    ("def f():\n    |\n    return x", "return x", ""),
    ("def f():\n    |\n\n    return result", "y = 1\n    return resu", "y = 1"),
    ("def f():\n    |\n    return x", "y = 1\n    return xyz", "y = 1\n    return xyz"),
    ("if a:\n    |\nelse:\n    c", "b\nelse:\n    c", "b"),
    ("x = |\nx = 1", "1", ""),
    ("x = |\ny = 1", "1", "1"),
    # From the first line that stands below on, also where the text goes another way from there.
    ("a = 1\n|\nb = 2\nc = 3\nd = 4", "x = 0\nb = 2\nc = 30", "x = 0"),
    ("import os\n|\nimport json\nimport sys", "import sys", ""),
    ("def f():\n    |\n\ndef g():\n    return 1", "return 1", "return 1"),
    # A line that ends a block is the text's own if the text began the block.
    ("function f(a) {\n  |\n}", "for (const x of a) {\n    g(x);\n  }", "for (const x of a) {\n    g(x);\n  }"),
    ("function f(a) {\n  |\n}", "return 1;\n}", "return 1;"),
    ("<ul>\n  |\n</ul>", "<li>\n    a\n  </li>\n</ul>", "<li>\n    a\n  </li>"),
    ("def a\n  |\nend", "if b\n    c\n  end\nend", "if b\n    c\n  end"),
]

CLOSER_CASES = [
    ("# Engine |the\n", "returns the engine behind ", "returns the engine behind "),
    ("x = |the\n", "a + the + b", "a + "),
    ("print(|)", '"hello")', '"hello"'),
    ("print(|)", '"hello"', '"hello"'),
    ("print(|)", "f(1)", "f(1)"),
    ("print(|)", "f(1))", "f(1)"),
    ('print("|")', 'hello")', "hello"),
    ('print("|")', 'hello", "x")', 'hello", "x'),
    ("print(|)", "a, b):", "a, b):"),
    ("f(g(|))", "x))", "x"),
    ("x = [|],", "1, 2],", "1, 2"),
    ("foo(|, bar)", "a, bar)", "a"),
    ("foo(|, bar)", "a", "a"),
    ("return |;", "a + b;", "a + b"),
    ("use std::|;", "collections::HashMap;", "collections::HashMap"),
    ("d[|] = 3", "key] = 3", "key"),
    ("if (|) {", "a > b) {", "a > b"),
    ("f(|);", "x) + (y);", "x) + (y)"),
    ("import a from './l/|.js';", "other.js'", "other"),
    ("foo(a, |, c)", "b, c)  # all", "b"),
    ("for (let i = 0; |; i++) {", "i < n; i++) {", "i < n"),
    ("x |= 3", "y", "y"),
]

IN_F = "def f(x):\n    |\n    return x\n"
DOCSTRING = 'def f():\n    """Say.\n\n    More.\n    """\n    |\n'

BROKEN_CASES = [
    # What parses stays.
    (IN_F, "y = foo(x)", "y = foo(x)"),
    (IN_F, "if x:\n        return 1", "if x:\n        return 1"),
    ("if a:\n    b\n|\n", "else:\n    c", "else:\n    c"),
    ("class A:\n    |\n    def f(self): pass\n", "@property", "@property"),
    ("print(|)\n", '"a")', '"a")'),
    ('x = "|"\n', 'abc" + "', 'abc" + "'),
    # Else the longest beginning that does: lines, or words of the first one.
    (IN_F, "y = foo(x, ", "y = foo"),
    (IN_F, "y = foo(x)\n    z = bar(", "y = foo(x)"),
    (IN_F, "y = 1\n    return x[a for a in x)\n    z = 2", "y = 1"),
    (IN_F, "if x:\n        return (x\n    else:\n        y", ""),
    (DOCSTRING, "return foo(", "return foo"),
    ("\tdef f():\n\t\tx\n\t\t|\n\t\ty\n", "foo(", "foo"),
    ("x = foo(|)\n", "a, b)\ny = (", "a, b)"),
    ("|", "x = {", "x"),
    # Else all, if it may still become something: confidence decides.
    (IN_F, "if x:", "if x:"),
    (IN_F, "try:", "try:"),
    (IN_F, "assert", "assert"),
    (IN_F, "import", "import"),
    (IN_F, "async def", "async def"),
    # Which it can't with a bracket or a string of its own that nothing closes in front of the code below.
    (IN_F, "for y in foo(x, ", ""),
    (IN_F, '"examples/', ""),
    (IN_F, '"""', ""),
    ("class A:\n    |\n", "@property", "@property"),
    ("|", "def f(a, ", "def f(a, "),
    # Else nothing.
    (IN_F, "for i in range(len(1):", ""),
    ("def f(x):\n    y = x\n|\n\nf(1)\n", "      return y", ""),
    ("def f(x):\n    y = x\n|\n\nf(1)\n", "  return y", ""),
    ("if a:\n    b\n|\nelse:\n    c\n", "x = 1", ""),
    ("|\nimport os\n", "    x", ""),
    # Where the code doesn't parse yet, it is judged by what would make it parse.
    ("x = |\n", "1 2 3 )) ]]", "1"),
    ("foo(a, |, c)\n", "b)) ]", "b"),
    ("for x in |:\n    pass\n", "range(3", "range"),
    ("x = foo(|\n", "a, b)\ny = (", "a, b)"),
    # Nothing can be told where the end of the statement is missing.
    ("x = foo(\n    a,\n    |\n", "b, (", "b,"),
    ('def f():\n    """Say: |\n', "foo(", "foo("),
    # In a file that is being written, indentation, brackets and quotes tell.
    ("def f(:\n    x\n    |\n", "y = foo((x", "y = foo"),
    ("def f(:\n    x\n    |\n", "y = foo(x)", "y = foo(x)"),
    ("def f():\n    x = = 1\n|\n", "        y", ""),
    ("def f():\n    x = = 1\n|\n", "    y", "    y"),
    ("def |\n    a,\n    b,\n):\n    pass\n", "f(", "f("),
    ("def f(:\n    x\n    |\n", 'y = "a', "y ="),
    # Nor within a long string, whose beginning may be far above.
    ('X = """\na\n|\nb\n"""\n', "foo(", "foo("),
    ('    - one\n    |\n    - two\n    """\n    x = 1\n', "- (", "- ("),
    ('class A:\n    x: int\n    |\n    y: int\n    """A number."""\n', "z: foo(", "z: foo"),
]

UNREACHABLE_CASES = [
    (BODY, "return x\n    y = 2\n    return y", "python", "return x"),
    (BODY, "if x:\n        return 1\n        foo()\n    z", "python", "if x:\n        return 1"),
    (BODY, "for a in b:\n        break\n        # never\n", "python", "for a in b:\n        break"),
    (BODY, "raise\n    foo()", "python", "raise"),
    (
        BODY,
        "if x:\n        return 1\n    else:\n        return 2\n    z = 1",
        "python",
        "if x:\n        return 1\n    else:\n        return 2",
    ),
    (BODY, "return {\n        1: 2,\n    }\n    y = 2", "python", "return {\n        1: 2,\n    }"),
    (BODY, "return a and \\\n    b", "python", None),
    (BODY, 'x = """\n    return the sum\n    of it"""\n    y', "python", None),
    ("def f():\n    return 1\n    |\n", "y = 2", "python", ""),
    ("def f():\n    return foo(\n    |\n", "y,\n    z)", "python", None),
    ('def f():\n    """Do it.\n\n    return it\n    |\n', "and more", "python", None),
    ("function f(x) {\n  |\n}", "return {\n    a: 1,\n  };\n  foo();", "javascript", "return {\n    a: 1,\n  };"),
    (
        "function f(x) {\n  |\n}",
        "return g(() => {\n    a();\n  });\n  b",
        "javascript",
        "return g(() => {\n    a();\n  });",
    ),
    ("function f(x) {\n  |\n}", "goto('/x');\n  foo();", "javascript", None),
    ("switch (x) {\n  case 1:\n    |\n}", "return 1;\n  case 2:\n    return 2;", "c", None),
    ("int f() {\n  |\n}", "goto out;\n  x = 1;", "c", "goto out;"),
    ("int f() {\n  |\n}", "return 0;\n  out:\n  return 1;", "c", None),
    ("while (1) {\n  |\n}", "throw e;\n  foo();", "java", "throw e;"),
    ("def f\n  |\nend", "return 1 if x\n  foo", "ruby", None),
    ("def f\n  |\nend", "return 1\n  foo", "ruby", "return 1"),
    ("a:\n  |\n", "return: 1\n  b: 2", "yaml", None),
    ("a {\n  |\n}", "break-after: page;\n  color: red;", "css", None),
    ("Text\n|", "break the ice\nand go on", "markdown", None),
    ("main = do\n  |\n", "return ()\n  print 1", "haskell", None),
    ("f() {\n  |\n}", "exit 1\n  foo", "shellscript", "exit 1"),
]
_LOAD = "def load(path):\n    "
# The lines above, the text, its language, and whether it can be reached.
BLOCK_LEAVES_CASES = [
    (f"{_LOAD}with open(path) as file:\n        return file.read()\n    |\n", "return []", "python", False),
    (f"{_LOAD}async with a.lock, b:\n        raise E\n\n    |\n", "return []", "python", False),
    (f"{_LOAD}with (\n        a as b,\n    ):\n        return 1\n    |\n", "return []", "python", False),
    (f"{_LOAD}with open(path) as file:\n        return file.read()\n|\n", "x = []", "python", True),
    (f"{_LOAD}with suppress(OSError):\n        return path.read()\n    |\n", "return []", "python", True),
    (f"{_LOAD}with open(path) as file:\n        if a:\n            return 1\n    |\n", "return []", "python", True),
    (f"{_LOAD}with a:\n        def g():\n            return 1\n    |\n", "return []", "python", True),
    (f"{_LOAD}if a:\n        return 1\n    |\n", "return []", "python", True),
    (f"{_LOAD}if a:\n        return 1\n    |\n", "else:\n        return 2", "python", True),
    (f"{_LOAD}if a:\n        return 1\n    elif b:\n        return 2\n    |\n", "return []", "python", True),
    (
        f"{_LOAD}if a:\n        return 1\n    elif b:\n        return 2\n    else:  # c\n        raise E\n    |\n",
        "x = 1",
        "python",
        False,
    ),
    (f"{_LOAD}if a:\n        return 1\n    else:\n        x = 2\n    |\n", "return []", "python", True),
    (f"{_LOAD}if a:\n        x\n    else:\n        return 2\n    |\n", "return []", "python", True),
    (f"{_LOAD}for a in b:\n        return 1\n    |\n", "return []", "python", True),
    (f"{_LOAD}for a in b:\n        return 1\n    else:\n        return 2\n    |\n", "return []", "python", True),
    (f"{_LOAD}while True:\n        x = 1\n    |\n", "return []", "python", False),
    (f"{_LOAD}while True:\n        if x:\n            break\n    |\n", "return []", "python", True),
    (f"{_LOAD}while a:\n        return 1\n    |\n", "return []", "python", True),
    (f"{_LOAD}try:\n        return 1\n    except E:\n        return 2\n    |\n", "return []", "python", False),
    (f"{_LOAD}try:\n        return 1\n    except E:\n        pass\n    |\n", "return []", "python", True),
    (
        f"{_LOAD}try:\n        x\n    except E:\n        raise\n    else:\n        return\n    |\n",
        "x = 1",
        "python",
        False,
    ),
    (f"{_LOAD}try:\n        x()\n    finally:\n        return 2\n    |\n", "return []", "python", False),
    (f"{_LOAD}with a:\n        return f(\n            1,\n        )\n    |\n", "return []", "python", False),
    (f"{_LOAD}with a:\n        with b:\n            return 1\n    |\n", "return []", "python", False),
    (f"{_LOAD}with a:\n        return 1\n    re|\n", "turn []", "python", True),
    (f"{_LOAD}with a:\n        return 1\n    |\n", "def g():\n        pass", "python", True),
    ("int f() {\n  if (a) {\n    return 1;\n  } else {\n    return 2;\n  }\n  |\n}", "return 0;", "c", False),
    ("int f() {\n  if (a)\n  {\n    return 1;\n  }\n  else\n  {\n    return 2;\n  }\n  |\n}", "return 0;", "c", False),
    ("int f() {\n  if (a)\n    return 1;\n  else\n    return 2;\n  |\n}", "return 0;", "c", False),
    ("int f() {\n  if (a)\n    return 1;\n  |\n}", "return 0;", "c", True),
    ("int f() {\n  if (a) {\n    return 1;\n  }\n  |\n}", "return 0;", "c", True),
    ("int f() {\n  if (a) {\n    return 1;\n  } else if (b) {\n    return 2;\n  }\n  |\n}", "return 0;", "c", True),
    (
        "int f() {\n#if A\n  if (a) {\n    return 1;\n  } else\n#endif\n  {\n    return 2;\n  }\n  |\n}",
        "return 0;",
        "c",
        True,
    ),
    ("int f() {\n  do {\n    return 1;\n  } while (1);\n  |\n}", "return 0;", "c", True),
    ("int f() {\n  for (;;) {\n    g();\n  }\n  |\n}", "return 0;", "c", False),
    ("int f() {\n  switch (a) {\n  case 1:\n    return 1;\n  }\n  |\n}", "return 0;", "c", True),
    ("function f() {\n  a.map((x) => {\n    return 1;\n  });\n  |\n}", "return 0;", "javascript", True),
    ("function f() {\n  const g = () => {\n    return 1;\n  };\n  |\n}", "return 0;", "javascript", True),
    (
        "function f() {\n  try {\n    return 1;\n  } catch (e) {\n    throw e;\n  }\n  |\n}",
        "return 0;",
        "javascript",
        False,
    ),
    (
        "function f() {\n  try {\n    return 1;\n  } catch (e) {\n    log(e);\n  }\n  |\n}",
        "return 0;",
        "typescript",
        True,
    ),
    ("int f() {\n    synchronized (this) {\n        return 1;\n    }\n    |\n}", "return 0;", "java", False),
    ("fn f() {\n    loop {\n        g();\n    }\n    |\n}", "0", "rust", False),
    ("fn f() {\n    loop {\n        break;\n    }\n    |\n}", "0", "rust", True),
    ("func f() {\n\tfor {\n\t\tg()\n\t}\n\t|\n}", "return 0", "go", False),
    ("func f() {\n\tif a {\n\t\treturn 1\n\t} else {\n\t\treturn 2\n\t}\n\t|\n}", "return 0", "go", False),
    ("a: {\n  with: 1\n  |\n}", "b: 2", "yaml", True),
]

DELETED_CASES = [
    ("return x", "return x", ""),
    ("return x + 1", "return x", ""),
    ("  return x\n", "return x", ""),
    ("return", "return x", "return x"),
    ("", "return x", "return x"),
]

TRAILING_CASES = [(EMPTY, "a  \n \n", "a"), (EMPTY, "a", "a"), (EMPTY, "  ", "")]
BLANK_CASES = [(EMPTY, "", ""), (EMPTY, " \n\t", ""), (EMPTY, " x", " x")]


def test_every_filter_has_a_table() -> None:
    tables = {name.replace(" ", "_").rstrip("s").upper() for name, _ in FILTERS}
    assert {f"{table}_CASES" for table in tables} <= set(globals())


def apply(name: str, text: str, place: str = EMPTY, mode: Mode = "block", **more: object) -> str:
    around = Surroundings(place=place_at(place), mode=mode, **more)  # type: ignore[arg-type]
    return dict(FILTERS)[name](text, around)


@pytest.mark.parametrize(("place", "mode", "text", "expected"), END_CASES)
def test_end(place: str, mode: Mode, text: str, expected: str) -> None:
    assert apply("end", text, place, mode) == expected


@pytest.mark.parametrize(("place", "mode", "text", "expected"), END_CASES)
def test_an_end_found_while_streaming_is_the_end(place: str, mode: Mode, text: str, expected: str) -> None:
    """Whatever has come so far, an end that is found then gives the same text as the whole."""
    for length in range(len(text) + 1):
        end = find_end(text[:length], place_at(place), mode)
        if end is not None:
            assert text[:end].rstrip() == expected


def test_the_stream_is_stopped_at_the_first_letter_of_a_dedent() -> None:
    assert find_end("return 1\n", place_at(BODY), "block") is None
    assert find_end("return 1\n\n\nd", place_at(BODY), "block") == len("return 1\n\n")


@pytest.mark.parametrize(
    ("name", "place", "text", "expected"),
    [
        *(("special tokens", *case) for case in SPECIAL_TOKEN_CASES),
        *(("repetition", *case) for case in REPETITION_CASES),
        *(("next lines", *case) for case in NEXT_LINE_CASES),
        *(("closers", *case) for case in CLOSER_CASES),
        *(("invisible", *case) for case in INVISIBLE_CASES),
        *(("trailing", *case) for case in TRAILING_CASES),
        *(("blank", *case) for case in BLANK_CASES),
    ],
)
def test_filter(name: str, place: str, text: str, expected: str) -> None:
    assert apply(name, text, place) == expected


@pytest.mark.parametrize(("place", "text", "language", "expected"), CHAT_CASES)
def test_chat(place: str, text: str, language: str, expected: str | None) -> None:
    assert apply("chat", text, place, language=language) == (text if expected is None else expected)


@pytest.mark.parametrize(("place", "text", "language", "expected"), UNREACHABLE_CASES)
def test_unreachable(place: str, text: str, language: str, expected: str | None) -> None:
    assert apply("unreachable", text, place, language=language) == (text if expected is None else expected)


@pytest.mark.parametrize(("place", "text", "language", "is_reached"), BLOCK_LEAVES_CASES)
def test_nothing_is_shown_behind_a_block_that_always_leaves(
    place: str, text: str, language: str, is_reached: bool
) -> None:
    assert apply("unreachable", text, place, language=language) == (text if is_reached else "")


def test_nothing_is_shown_behind_a_block_of_the_text_that_always_leaves() -> None:
    text = "with open(path) as file:\n        return file.read()"
    assert apply("unreachable", f"{text}\n    return []", f"{_LOAD}|\n", language="python") == text


@pytest.mark.parametrize(("place", "text", "expected"), BROKEN_CASES)
def test_broken(place: str, text: str, expected: str) -> None:
    assert apply("broken", text, place, language="python") == expected
    assert apply("broken", text, place) == text
    assert apply("broken", text, place, language="markdown") == text


@pytest.mark.parametrize(("place", "text", "expected"), BROKEN_CASES)
def test_what_is_judged_by_the_code_around_is_so_in_the_whole_file(place: str, text: str, expected: str) -> None:
    """However much stands above and below, if it doesn't take the text for its own."""
    if place.startswith("|"):
        return
    more = "\n".join(f"def f{i}(a, b):\n    return a + b\n\n" for i in range(40))
    assert apply("broken", text, f"{more}\n{place}\n{more}", language="python") == expected


def parses(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


@pytest.mark.parametrize("number", range(0, 100, 5))
def test_judging_by_the_code_around_is_judging_the_file(number: int) -> None:
    """At each line of a file, with texts that go on rightly and wrongly."""
    lines = inspect.getsource(end).replace("|", "+").split("\n")
    number = min(number, len(lines) - 1)
    above, below = "\n".join(lines[:number]) + "\n", "\n" + "\n".join(lines[number:])
    indent = lines[number][: len(lines[number]) - len(lines[number].lstrip())]
    for text in (f"{indent}x = 1", f"{indent}x = (", f"{indent}else:\n{indent}    y", f"{indent}  z", "w = 1"):
        place = place_at(f"{above}|{below}")
        stands = parse_checker(text, place, "python")
        if parses(above + below) and stands is not None:
            assert stands(text) == parses(above + text + below)


BALANCE_CASES = [
    ("x = foo(|)", "a, b", True),
    ("x = foo(|)", "a, b)", True),
    ("|", "foo(a, [", False),
    ("|", "if (x) {", True),
    ("  |", "if (x) {\n    y(1);\n  }", True),
    ("  |", "return x;\n  }", False),
    ("|", 'let s = "a', False),
    ("foo(a, |", "b, c[", False),
    ("foo(a, |", "b);", True),
    ("foo(|);", '"Hello,', False),
    ("function f() {\n|\n", "  return 1;\n}", True),
    ("function f() {|}", "\n  return 1;\n", True),
    ("function f() {|}", "\n  return 1;", False),
    ("  x = |", "y +", False),
    ("  |", "// Adds two numbers.", True),
    ("/* what |", "f(", None),
    ("const s = `a |", "f(", True),
    ("const s = `a ${b|}`", "(", False),
    ("const s = `a ${b|}`", ".c", True),
    ("const s = `a ${|}`;", "b.c", True),
    ("const s = `a ${|}`;", "b}`;", True),
    ('const s = "|";', 'a", "b', False),
    ('const s = "|";', "it's (a", True),
]


@pytest.mark.parametrize(("place", "text", "expected"), BALANCE_CASES)
def test_in_languages_with_braces_brackets_are_counted(place: str, text: str, expected: bool | None) -> None:
    stands = parse_checker(text, place_at(place), "typescript")
    assert (stands and stands(text)) is expected
    assert parse_checker(text, place_at(place), "markdown") is None


@pytest.mark.parametrize(
    ("language", "place", "text", "expected"),
    [
        ("json", '{\n  |": 1,\n}', '"name"', '"name'),
        ("json", '{\n  |": 1,\n}', '"name": "v"', '"name": "v'),
        ("json", '{\n  "name": |",\n  "b": 1\n}', '"app"', '"app'),
        ("json", '{\n  "name": |",\n  "b": 1\n}', '"app', '"app'),
        ("json", '{\n  "name": |",\n  "b": 1\n}', "17", ""),
        ("json", '{\n  "x": |", "y": "~2",\n  "b": 1\n}', '"^1', '"^1'),
        ("json", '{\n  "name": |,\n  "b": 1\n}', '"app"', '"app"'),
        ("json", '{\n  "tags": ["a", |"],\n}', '"b"', '"b'),
        ("toml", 'name = |"\n', '"app"', '"app'),
        ("toml", "name = |'\n", "'it\"s'", "'it\"s"),
        ("python", 'x = f(|", 1)\n', '"name"', '"name'),
        ("python", "x = f(|', 1)\n", "'name'", "'name"),
        ("javascript", "f(|', 1);\n", "'name'", "'name"),
        ("go", 'f(|", 1)\n', '"name"', '"name'),
        ("c", 'f(|", 1);\n', '"name"', '"name'),
        ("java", 'f(|", 1);\n', '"name"', '"name'),
        ("csharp", 'F(|", 1);\n', '"name"', '"name'),
        ("lua", 'f(|", 1)\n', '"name"', '"name'),
        ("shellscript", 'echo | "a\nb"\n', '"name"', '"name"'),  # the string ends below
    ],
)
def test_a_string_in_front_of_a_lone_quote_ends_there(language: str, place: str, text: str, expected: str) -> None:
    around = Surroundings(place=place_at(place), mode="line", language=language)
    assert filter_text(text, around).text == expected


@pytest.mark.parametrize("text", ["(" * 5_000, "-" * 50_000 + "1", "x = '\0'", "x = \ud800", "[" * 300 + "\n" * 300])
def test_judging_what_is_no_program_does_no_harm(text: str) -> None:
    assert text.startswith(apply("broken", text, IN_F, language="python"))


@pytest.mark.parametrize(("mode", "text", "expected"), UNFINISHED_CASES)
def test_unfinished(mode: Mode, text: str, expected: str) -> None:
    assert apply("unfinished", text, mode=mode, is_cut_short=True) == expected
    assert apply("unfinished", text, mode=mode) == text


@pytest.mark.parametrize(("deleted", "text", "expected"), DELETED_CASES)
def test_deleted(deleted: str, text: str, expected: str) -> None:
    assert apply("deleted", text, deleted=deleted) == expected


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ("a, b):", "|)", 1),
        ("a", "|)", 0),
        ("f(a)", "|)", 0),
        ('y"): pass', "|)", 1),
        ('y")', '|")', 2),
        ("]", "|)", 0),
        (") => other.id", "items.filter((other|)", 0),
        (") => other.id)", "items.filter((other|)", 1),
        (") => other.id", "items.filter((other|))", 1),
        ("x).y", "f(g(|))", 1),
        ("x)).y", "f(g(|))", 2),
        ('"]', 'print(x["key|)', 0),
        ('"])', 'print(x["key|"])', 3),
        ("x)", "items.append(Item(|)\n)", 1),  # the line below closes the outer one
        ("x)", "use(don't(|)", 1),
    ],
)
def test_num_replaced(text: str, place: str, expected: int) -> None:
    assert num_replaced(text, place_at(place)) == expected


@pytest.mark.parametrize(
    ("place", "text", "line"),
    [
        ("same = items.filter((other|)", ") => other.id", "same = items.filter((other) => other.id)"),
        ("same = items.filter((other|)", ") => other.id)", "same = items.filter((other) => other.id)"),
        ("same = items.filter((other|)", ")", "same = items.filter((other))"),
        ("f(g(|))", "x", "f(g(x))"),
        ("f(g(|))", "x))", "f(g(x))"),
        ("f(g(|)", "x)", "f(g(x))"),
        ("f(|)", "x)", "f(x)"),
        ("use(a[|])", "0] + b[1]", "use(a[0] + b[1])"),
        ("items.append(Item(|)\n)", "x)", "items.append(Item(x)"),
        ("use(a[|)", "0]", "use(a[0])"),
        ("call({ key: f(|) })", "x)", "call({ key: f(x) })"),
    ],
)
def test_every_bracket_of_the_line_is_closed_once(place: str, text: str, line: str) -> None:
    where = place_at(place)
    shown = apply("closers", text, place)
    assert where.head + shown + where.tail[num_replaced(shown, where) :] == line


def test_the_filter_that_dropped_a_text_is_named() -> None:
    def dropped_by(text: str, place: str, mode: Mode) -> str:
        around = Surroundings(place=place_at(place), mode=mode, language="python")
        return filter_text(text, around).dropped_by

    assert dropped_by("\n", "x = |", "line") == NOTHING
    assert dropped_by("\ny = 1", "x = |", "line") == "end"
    assert dropped_by("return x", "def f():\n    |\n    return x", "block") == "next lines"
    assert dropped_by("for i in range(len(1):", IN_F, "block") == "broken"
    assert filter_text("1", Surroundings(place=place_at("x = |"), mode="line")) == ("1", "")


CODE = st.text(alphabet="ab :()\"'\n\t<|>", max_size=40)


@given(CODE, CODE, CODE, st.sampled_from(["line", "block"]), st.booleans(), CODE)
def test_filters_only_cut_at_the_end(
    before: str, after: str, text: str, mode: Mode, is_cut_short: bool, deleted: str
) -> None:
    place = place_at(f"{before}|{after}")
    around = Surroundings(place=place, mode=mode, is_cut_short=is_cut_short, deleted=deleted, language="python")
    assert text.startswith(filter_text(text, around).text)


TABBED = "class A:\n\tdef f(self):\n\t\tpass\n\n\tdef g(self):\n\t\t|"
TWO_WIDE = "class A:\n  def f(self):\n    pass\n\n  def g(self):\n    |"


@pytest.mark.parametrize(
    ("place", "text", "expected"),
    [
        (BODY, "if a:\n        b\n    c", "if a:\n        b\n    c"),
        (TABBED, "if a:\n            b\n        c", "if a:\n\t\t\tb\n\t\tc"),
        (TABBED, "if a:\n\t\t\tb", "if a:\n\t\t\tb"),
        (BODY, "if a:\n\t\tb\n\tc", "if a:\n        b\n    c"),
        (
            TWO_WIDE,
            "if a:\n        b\n        if c:\n            d\n    e",
            "if a:\n      b\n      if c:\n        d\n    e",
        ),
        (TWO_WIDE, "if a:\n      b\n    e", "if a:\n      b\n    e"),
        (BODY, "x = f(a,\n          b)", "x = f(a,\n          b)"),
        ("x = |", "[\n  1,\n]", "[\n  1,\n]"),
        # Half of the indentation stands there already.
        ("def f(a):\n    return a\n\n\ndef g(b):\n  |", "  c = b\n    return c", "  c = b\n    return c"),
        ("def f(a):\n  return a\n\n\ndef g(b):\n  |", "  c = b\n  return c", "c = b\n  return c"),
        (BODY, "a = 1  \n    \n    b = 2\t\n", "a = 1\n\n    b = 2\n"),
        (BODY, "a\r\n    b", "a\n    b"),
    ],
)
def test_rewrite(place: str, text: str, expected: str) -> None:
    assert rewrite(text, place_at(place)) == expected


@given(CODE, CODE, st.integers(1, 5))
def test_rewriting_by_pieces_is_rewriting_the_whole(before: str, text: str, size: int) -> None:
    rewriter = Rewriter(place_at(f"{before}|"))
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    assert "".join(map(rewriter.feed, pieces)) == rewrite(text, place_at(f"{before}|"))
