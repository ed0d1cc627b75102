"""Tells what names in JavaScript and TypeScript are: bound, read, or part of something else, by what stands around."""

from __future__ import annotations

import re
from typing import Final

from lsp_server.edits.code import Code
from lsp_server.edits.roles import OTHER, READ, UNSURE, Role

_DECLARED: Final = re.compile(r"\b(const|let|var|function\b\s*\*?|class|interface|type|enum|namespace)\s*\Z")
_BODY: Final = re.compile(r"\s*(?::[^={};]*?(?:\{[^{}]*\}[^={};]*?)?)?\s*(=>|\{)")
_NO_PARAMETERS: Final = re.compile(r"\b(?:if|for|while|switch|with|return|await|of|in|typeof)\s*\Z")
_MODIFIERS: Final = r"(?:(?:public|private|protected|static|readonly|override|async|get|set|abstract|declare)\s+)*\*?"
_MEMBER_HEAD: Final = re.compile(rf"\s*{_MODIFIERS}\s*\Z")
_PROPERTY_PARAMETER: Final = re.compile(r"\b(?:public|private|protected|readonly)\s+\Z")
_CLASS: Final = re.compile(r"\bclass\b[^{};]*\Z")
_TYPE_BODY: Final = re.compile(r"\b(?:interface\b[^{};]*|type\b[^{};]*=\s*)\Z")
_IMPORT: Final = re.compile(r"\bimport\s+(?:type\s+)?(?:[\w$]+\s*,\s*)?\Z")
_EXPORT: Final = re.compile(r"\bexport\s+(?:type\s+)?\Z")
_VALUE_BEFORE: Final = re.compile(r"(?:[=(:,\[?&|+]|\b(?:return|default|await|yield))\s*\Z")
_FUNCTION: Final = re.compile(r"(?:=>|\)(?:\s*:[^={};()]*)?)\s*\Z")
_END: Final = re.compile(r"[()\[\]{};,]|\n(?=\s*(?:\n|[\w$}]))")


class ScriptRoles:
    """The roles of names in one document."""

    def __init__(self, code: Code) -> None:
        self._code = code
        self._text = code.masked

    def role(self, at: int, name: str) -> Role:
        """Return what the name at an offset does."""
        text = self._text
        before, after = text[max(0, at - 200) : at], text[at + len(name) : at + len(name) + 200]
        left, right = before.rstrip(), after.lstrip()
        if left.endswith(".") and not left.endswith("..."):
            return self._attribute(at, left)
        opener = self._code.opener(at)
        if role := self._named(at, name, before, after, opener):
            return role
        look = {"(": self._in_parentheses, "{": self._in_braces, "[": self._in_square}
        return look[text[opener]](at, before, right, opener) if opener >= 0 else READ

    def _named(self, at: int, name: str, before: str, after: str, opener: int) -> Role | None:
        if re.search(r"\bas\s+\Z", before) and self._is_imported(at, opener):
            return self._file()
        if found := _DECLARED.search(before):
            return self._declared(at, found[1], opener)
        if re.match(r"\s*=>", after):
            return Role("bind", at, self._expression_end(at + len(name) + after.index("=>") + 2))
        is_default = _IMPORT.search(before[before.rfind("\n") + 1 :]) and re.match(r"\s*(?:,|from\b)", after)
        return self._file() if is_default else None

    def hides(self, at: int, name: str) -> bool:
        """Return False: a class's members are always named through an object."""
        return False

    def _file(self) -> Role:
        return Role("bind", 0, len(self._text))

    def _block(self, at: int) -> Role:
        opener = self._code.block(at)
        return self._file() if opener < 0 else Role("bind", opener, self._code.closer(opener))

    def _attribute(self, at: int, left: str) -> Role:
        if not re.search(r"(?<![\w.$])this\??\.\Z", left):
            return OTHER
        opener = self._code.block(at)
        while opener >= 0 and not _CLASS.search(self._text[max(0, opener - 300) : opener]):
            opener = self._code.block(opener)
        return Role("field", opener, self._code.closer(opener)) if opener >= 0 else OTHER

    def _is_imported(self, at: int, opener: int) -> bool:
        start = opener if opener >= 0 and self._text[opener] == "{" else at
        line = self._text[self._text.rfind("\n", 0, start) + 1 : start]
        return bool(re.match(r"\s*import\b", line))

    def _declared(self, at: int, word: str, opener: int) -> Role:
        if opener >= 0 and self._text[opener] == "(":
            if not re.search(r"\bfor\s*(?:await\s*)?\Z", self._text[max(0, opener - 20) : opener]):
                return UNSURE
            return Role("bind", opener, self._statement_end(self._code.closer(opener)))
        block = self._code.block(at)
        if word == "var" and block >= 0 and not _FUNCTION.search(self._text[max(0, block - 200) : block]):
            return UNSURE
        if word.startswith(("function", "class")) and _VALUE_BEFORE.search(
            self._text[max(0, at - 40) : at - len(word)]
        ):
            return UNSURE  # the name of an expression holds in that alone
        return self._block(at)

    def _in_parentheses(self, at: int, before: str, right: str, opener: int) -> Role:
        body_end = self._body_end(opener)
        gap = self._text[opener:at]
        is_first = gap.rstrip().endswith(("(", ",", "..."))
        if body_end >= 0 and is_first and re.match(r"\??\s*[,):=]", right):
            return Role("bind", opener, body_end)
        if body_end >= 0 and _PROPERTY_PARAMETER.search(gap):
            return UNSURE
        return OTHER if is_first and re.match(r"\??:", right) else READ

    def _body_end(self, opener: int) -> int:
        """Return where the function ends whose parameters a parenthesis holds; -1 if it is no such one."""
        head, closer = self._text[max(0, opener - 30) : opener], self._code.closer(opener)
        if closer < 0 or _NO_PARAMETERS.search(head):
            return -1
        found = _BODY.match(self._text, closer + 1)
        if found is None:
            return -1
        if found[1] == "{":
            return self._code.closer(found.start(1))
        return self._expression_end(found.end())

    def _in_braces(self, at: int, before: str, right: str, opener: int) -> Role:
        head = self._text[max(0, opener - 300) : opener]
        if _IMPORT.search(head):
            return OTHER if right.startswith("as ") else self._file()
        if _EXPORT.search(head):
            return UNSURE
        line = before[before.rfind("\n") + 1 :]
        if _CLASS.search(head) and _MEMBER_HEAD.match(line):
            return Role("member", opener, self._code.closer(opener))
        is_listed = self._text[opener:at].rstrip()[-1:] in {"{", ","}
        is_key = is_listed and re.match(r"\??:(?!:)", right)
        if is_key or (_TYPE_BODY.search(head) and re.match(r"\s*(?:readonly\s+)?\Z", line)):
            return OTHER
        return self._in_pattern(at, right, opener) or self._in_object(at, right, opener, is_listed=is_listed)

    def _in_object(self, at: int, right: str, opener: int, *, is_listed: bool) -> Role:
        """Return the role of a name in an object or a block."""
        if is_listed and right[:1] in {",", "}"}:
            is_object = _VALUE_BEFORE.search(self._text[max(0, opener - 300) : opener])
            return Role("shorthand") if is_object else OTHER
        is_method = right.startswith("(") and self._text[opener:at].strip() == "{"
        return OTHER if is_method else READ

    def _in_pattern(self, at: int, right: str, opener: int) -> Role | None:
        """Return the role of a name that is taken out of an object; None if the braces are no such pattern."""
        closer = self._code.closer(opener)
        if re.match(r"\s*(?:=(?![=>])|of\b)", self._text[closer + 1 : closer + 20]):
            is_declared = re.search(r"\b(?:const|let|var)\s*\Z", self._text[max(0, opener - 20) : opener])
            return self._block(opener) if is_declared else UNSURE
        outer = self._code.opener(opener)
        if outer < 0 or self._text[outer] != "(" or (end := self._body_end(outer)) < 0:
            return None
        is_pattern = self._text[outer:opener].rstrip()[-1:] in {"(", ","}
        return Role("bind", outer, end) if is_pattern and right[:1] in {",", "}", "="} else READ

    def _in_square(self, at: int, before: str, right: str, opener: int) -> Role:
        closer = self._code.closer(opener)
        is_declared = re.search(r"\b(?:const|let|var)\s*\Z", self._text[max(0, opener - 20) : opener])
        is_set = closer >= 0 and re.match(r"\s*(?:=(?![=>])|of\b)", self._text[closer + 1 : closer + 20])
        return self._block(opener) if is_declared and is_set else READ

    def _statement_end(self, at: int) -> int:
        """Return where the statement behind the parenthesis of a loop ends."""
        found = re.compile(r"\s*\{").match(self._text, at + 1)
        return self._code.closer(found.end() - 1) if found else self._expression_end(at + 1)

    def _expression_end(self, at: int) -> int:
        """Return where the expression ends that begins at an offset."""
        brace = re.compile(r"\s*\{").match(self._text, at)
        if brace:
            return self._code.closer(brace.end() - 1)
        while found := _END.search(self._text, at):
            if found[0] not in {"(", "[", "{"}:
                return found.start()
            at = self._code.closer(found.start()) + 1
            if at <= 0:
                break
        return len(self._text)
