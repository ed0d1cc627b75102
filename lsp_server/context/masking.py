"""Masks secrets in text that goes into a prompt: tokens, private keys, passwords in addresses and assignments.

Each secret is replaced by as many asterisks, so that lines keep their length. The line of the cursor is left as it is
typed. The forms of tokens are those that their issuers document. It must not know documents, files or requests.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from functools import lru_cache
from itertools import pairwise
from typing import Final

from lsp_server.context.budget import Cut

MASK: Final = "*"

# Each entry is a list of marks and an expression for tokens of one kind. Every match of the expression contains one of
# the marks, which are quick to look for. The expression's group is masked, or the whole match if it has none.
_TOKENS: Final = (
    (
        "AKIA ASIA ABIA ACCA AGPA AIDA AROA ANPA ANVA",
        r"\b(?:AKIA|ASIA|ABIA|ACCA|AGPA|AIDA|AROA|ANPA|ANVA)[A-Z0-9]{16}\b",
    ),
    ("ghp_ gho_ ghu_ ghs_ ghr_", r"\bgh[pousr]_[A-Za-z0-9]{30,}"),
    ("github_pat_", r"\bgithub_pat_[A-Za-z0-9_]{22,}"),
    ("glpat- glptt- glrt- glsoat- gldt-", r"\bgl(?:pat|ptt|rt|soat|dt)-[\w-]{20,}"),
    ("xox xapp-", r"\bxox[abeoprs]-[\w-]{10,}|\bxapp-\d-[\w-]{10,}"),
    ("hooks.slack.com/", r"hooks\.slack\.com/(?:services|workflows)/[\w/]{20,}"),
    ("sk-", r"\bsk-(?:[A-Za-z]+\d*-)*[A-Za-z0-9_-]{20,}"),  # OpenAI, Anthropic and others
    ("k_live_ k_test_ whsec_", r"\b[rsp]k_(?:live|test)_[A-Za-z0-9]{16,}|\bwhsec_[A-Za-z0-9+/=]{16,}"),  # Stripe
    ("AIza ya29. GOCSPX-", r"\bAIza[\w-]{35}|\bya29\.[\w-]{20,}|\bGOCSPX-[\w-]{20,}"),  # Google
    ("npm_ pypi- hf_", r"\bnpm_[A-Za-z0-9]{36}|\bpypi-[\w-]{32,}|\bhf_[A-Za-z0-9]{30,}"),
    ("dckr_pat_ gsk_", r"\bdckr_pat_[\w-]{20,}|\bgsk_[A-Za-z0-9]{40,}"),
    ("SG. key- SK AC", r"\bSG\.[\w-]{16,}+\.[\w-]{16,}|\bkey-[0-9a-f]{32}\b|\bSK[0-9a-f]{32}\b|\bAC[0-9a-f]{32}\b"),
    ("dop_v1_ doo_v1_ dor_v1_ dapi", r"\bd(?:op|oo|or)_v1_[0-9a-f]{64}|\bdapi[0-9a-f]{32}"),
    ("shpat_ shpca_ shppa_ shpss_", r"\bshp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    ("hvs. hvb. hvr. lin_api_ glsa_", r"\bhv[sbr]\.[\w-]{20,}|\blin_api_[A-Za-z0-9]{30,}|\bglsa_[A-Za-z0-9_]{30,}"),
    ("AGE-SECRET-KEY-1 :AA", r"\bAGE-SECRET-KEY-1[0-9A-Z]{40,}|\b\d{8,10}:AA[\w-]{33}"),
    ("eyJ", r"\beyJ[\w-]{8,}+\.eyJ[\w-]{8,}(?:\.[\w-]*)?"),  # JSON Web Token
    ("PRIVATE KEY-----", r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?P<key>.+?)(?:-----END|$)"),
    ("://", r"\b[A-Za-z][A-Za-z0-9+.-]{0,20}://[^\s:/@\"']*+:(?P<address>(?![{$<%*])[^\s@\"'/]++)@"),
)
# Entries whose expression ignores case; their marks are in lower case.
_LOOSE_TOKENS: Final = (
    ("bearer basic", r"(?i:\b(?:bearer|basic)\s+)(?P<header>(?=[\w.~+/-]*\d)[\w.~+/-]{16,}=*)"),
    (
        "key= signature= sig=",
        r"(?i:\b(?:AccountKey|SharedAccessKey|SharedAccessSignature|sig)=)(?P<azure>[\w+/%]{32,}=*)",
    ),
    ("password pwd", r"(?i:;\s*(?:password|pwd)\s*=\s*)(?P<dsn>(?![{$<%*])[^;\"'\s]+)"),
)
_BLOB_CHARS: Final = 60
_BLOB: Final = (
    r"^[\s\"'#*]*+(?P<line>(?=[^\s]*\d)(?=[^\s]*[A-Z])(?=[^\s]*[a-z])[A-Za-z0-9+/_-]{60,}+={0,2})[\\n\"',\s]*$"
)
_IS_BLOB: Final = re.compile(_BLOB)
_TOKEN: Final = re.compile("|".join([*(f"(?:{form})" for _, form in (*_TOKENS, *_LOOSE_TOKENS)), f"(?:{_BLOB})"]))
_TOKEN_HINT: Final = re.compile("|".join(re.escape(one) for hints, _ in _TOKENS for one in hints.split()))
_LOOSE_HINTS: Final = tuple(one for hints, _ in _LOOSE_TOKENS for one in hints.split())

_NAME_HINTS: Final = ("passw", "passphrase", "pwd", "secret", "token", "credential", "key", "auth", "salt")
_NAME: Final = (
    r"(?<![\w.-])(?P<name>[\w.-]*(?:passw(?:or)?d|passphrase|pwd|secret|token|credential|api[_-]?key|apikey"
    r"|(?:access|account|auth|private|signing|encryption|master|session)[_-]?key|[_-]key|\bkey|\bauth|salt)"
    r"[\w-]{0,64}+(?![\w-]))"
)
_SIGN: Final = r"[\"']?\]?\s*+(?::\s*+[A-Za-z_][\w.\[\] |]*+)?\s*+(?::=|=>|==|!=|=|:|,)\s*+"
# Parts are matched possessively: none can begin the part behind it, so that no line makes an expression backtrack for
# long.
_QUOTED: Final = re.compile(
    _NAME + _SIGN + r"\(?\s*+[A-Za-z]{0,2}(?P<quote>[\"'`])(?P<value>[^\"'`\s]{6,}+)(?P=quote)", re.I
)
_BARE: Final = re.compile(
    r"^\s*+(?:export\s++|set\s++|-\s++)?" + _NAME + r"\s*+[:=]\s*+(?P<value>[A-Za-z0-9+/=_~!@#$%^&-]{8,}+)\s*$", re.I
)
_PASSWORD_NAME: Final = re.compile(r"passw(?:or)?d|passphrase|pwd", re.I)
_KEY_BEGIN: Final = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY")
_KEY_END: Final = "-----END"
_PLACEHOLDER: Final = re.compile(
    r"^(?:[<{$%\[*].*|x{4,}|\.+|.*(?:example|changeme|change_me|placeholder|your[-_]|dummy|redacted|todo).*)$", re.I
)
# Words joined by dots, dashes, slashes or underscores, perhaps with a number at the end, are names and paths.
_WORDS: Final = re.compile(r"^[/._:-]*[A-Za-z]+\d{0,2}(?:[-_./:]+[A-Za-z]*\d{0,2})*$")


def mask_around(cut: Cut) -> Cut:
    """Mask secrets around a cursor, except on the cursor's own line."""
    above, end, head = cut.prefix.rpartition("\n")
    tail, begin, below = cut.suffix.partition("\n")
    return Cut(prefix=mask_text(above) + end + head, suffix=tail + begin + mask_text(below))


def mask_text(text: str) -> str:
    """Return the text with asterisks in place of secrets. Its length and line ends stay."""
    if "PRIVATE KEY-----" not in text:
        return "\n".join(map(_mask_line, text.split("\n")))
    lines = text.split("\n")
    inside = not _begins_before_it_ends(lines)  # the text was cut within a key
    for number, line in enumerate(lines):
        lines[number] = _mask_all(line) if inside and _KEY_END not in line else _mask_line(line)
        if _KEY_BEGIN.search(line):
            inside = True
        if _KEY_END in line:
            inside = False
    return "\n".join(lines)


def _begins_before_it_ends(lines: list[str]) -> bool:
    first = next((line for line in lines if "PRIVATE KEY-----" in line), "")
    return _KEY_BEGIN.search(first) is not None


@lru_cache(maxsize=20_000)  # a keystroke changes one line of those that are sent
def _mask_line(line: str) -> str:
    if len(line) < 8:
        return line
    if _may_hold_token(line):
        line = _TOKEN.sub(_mask_match, line)
    if _may_name_secret(line):
        line = _BARE.sub(_mask_value, _QUOTED.sub(_mask_value, line))
    return line


def _may_hold_token(line: str) -> bool:
    """Return whether an expression may match. This takes a twentieth of the time that the expressions take."""
    if not line.isascii():  # an expression that ignores case takes "ı" for an "i", so the marks don't tell
        return True
    folded = line.lower()
    has_hint = _TOKEN_HINT.search(line) is not None or any(hint in folded for hint in _LOOSE_HINTS)
    return has_hint or (len(line) >= _BLOB_CHARS and _IS_BLOB.match(line) is not None)


def _may_name_secret(line: str) -> bool:
    """Return whether something may be assigned to a secret's name. This is as quick as `_may_hold_token`."""
    folded = line.lower()
    return not line.isascii() or any(hint in folded for hint in _NAME_HINTS)


def _mask_match(found: re.Match[str]) -> str:
    group = found.lastgroup or 0
    start, end = (place - found.start() for place in found.span(group))
    return found[0][:start] + MASK * (end - start) + found[0][end:]


def _mask_value(found: re.Match[str]) -> str:
    value = found["value"]
    if not _looks_secret(value, found["name"], is_quoted="quote" in found.re.groupindex):
        return found[0]
    start = found.start("value") - found.start()
    return found[0][:start] + MASK * len(value) + found[0][start + len(value) :]


def _looks_secret(value: str, name: str, *, is_quoted: bool) -> bool:
    """Return whether a value that is assigned to such a name is a secret, and no name, path or placeholder itself."""
    if _PLACEHOLDER.match(value) or set(value) == {MASK}:
        return False
    is_password = _PASSWORD_NAME.search(name) is not None
    if is_password and is_quoted:
        is_name = _WORDS.match(value) and (not value.isalnum() or "pass" in value.lower())
        return not is_name and not (value.isalpha() and len(value) < 8)
    if _WORDS.match(value) and not (is_password and any(map(str.isdigit, value))):
        return _num_changes(value) > 5 and entropy(value) > 3.5
    return entropy(value) >= (2.5 if is_quoted else 3.0) and any(map(str.isdigit, value))


def entropy(text: str) -> float:
    """Return the Shannon entropy of a text's characters in bits per character."""
    counts = Counter(text)
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())


def _num_changes(text: str) -> int:
    """Count how often the kind of character changes: random letters change often, words seldom."""
    kinds = ["0" if c.isdigit() else "A" if c.isupper() else "a" for c in text if c.isalnum()]
    return sum(a != b for a, b in pairwise(kinds))


def _mask_all(line: str) -> str:
    return re.sub(r"\S", MASK, line)
