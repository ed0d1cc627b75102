"""Decides which files must not be read: by built-in lists, `.gitignore` and `.tabcastignore`, read as git reads them.

Rules are parsed and no program is run. Later rules win, as in git: first the built-in rules against clutter, then every
`.gitignore` from the root down, then every `.tabcastignore`. The built-in rules against secrets can't be taken back,
because a workspace is not trusted. It must not know documents or requests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

GIT_IGNORE: Final = ".gitignore"
OWN_IGNORE: Final = ".tabcastignore"
RULE_FILES: Final = (GIT_IGNORE, OWN_IGNORE)
MAX_RULES_BYTES: Final = 256 * 1024
# chosen: with more wildcards of one kind a hostile pattern could backtrack for ever.
MAX_WILDCARDS: Final = 3

# Compared with names in lower case.
SECRET_PATTERNS: Final = (
    *("*.env", ".env", ".env.*", ".envrc", "!.env.example", "!.env.sample", "!.env.template"),
    *("*.pem", "*.key", "*.p8", "*.p12", "*.pfx", "*.crt", "*.cer", "*.der", "*.csr", "*.jks", "*.keystore"),
    *("*.asc", "*.gpg", "*.pgp", "*.ppk", "*.kdbx", "*.ovpn", "*.mobileprovision", ".ssh/", ".gnupg/"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "id_*.pub", "authorized_keys", "known_hosts"),
    *("credentials", ".credentials*", ".git-credentials", ".aws/", ".azure/", ".config/gcloud/"),
    *(f"*credentials*.{ending}" for ending in ("json", "yaml", "yml", "toml", "ini", "xml", "csv", "txt", "enc")),
    *(f"*secret*.{ending}" for ending in ("json", "yaml", "yml", "toml", "ini", "xml", "csv", "txt", "enc")),
    *("secrets.*", ".secrets", ".secrets.*", ".vault-token", "vault-password*", "service-account*.json"),
    *(".netrc", "_netrc", ".pypirc", ".npmrc", ".yarnrc", ".yarnrc.yml", ".pgpass", ".my.cnf", ".htpasswd"),
    *("kubeconfig", "*.kubeconfig", ".kube/", ".dockercfg", ".docker/config.json", ".terraformrc", "terraform.rc"),
    *("*.tfstate", "*.tfstate.*", "*.tfvars", "*.tfvars.json", ".*_history", "wallet.dat"),
)
CLUTTER_PATTERNS: Final = (
    *(".git/", ".hg/", ".svn/", "node_modules/", "bower_components/", "jspm_packages/"),
    *(".venv/", "venv/", "site-packages/", "__pycache__/", ".tox/", ".nox/", ".eggs/", "*.egg-info/"),
    *("build/", "dist/", "target/", ".next/", ".nuxt/", ".svelte-kit/", ".gradle/", ".terraform/"),
    *(".cache/", ".mypy_cache/", ".pytest_cache/", ".ruff_cache/", ".ipynb_checkpoints/", "htmlcov/", "coverage/"),
    *("*.min.*", "*.map", "*.bundle.js", "*.lock", "package-lock.json", "pnpm-lock.yaml", "npm-shrinkwrap.json"),
    *(f"*.{ending}" for ending in ("pyc", "pyo", "so", "o", "a", "dll", "dylib", "exe", "class", "jar", "wasm", "bin")),
    *(f"*.{ending}" for ending in ("png", "jpg", "jpeg", "gif", "webp", "ico", "pdf", "svg", "mp3", "mp4", "woff*")),
    *(f"*.{ending}" for ending in ("zip", "gz", "bz2", "xz", "zst", "tar", "7z", "whl", "parquet", "sqlite*", "db")),
)
BUILT_IN: Final = "built in"
# A module that deals with secrets, or is named like Python's `secrets`, is code: secrets in it are masked, and only its
# folder is judged.
_CODE: Final = re.compile(
    r"secrets\.(pyi?|[mc]?[jt]sx?|go|rs|java|kt|scala|swift|cs|c|h|cc|[ch]pp|rb|exs?|erl|hs|ml|dart|lua|zig)"
)


class _Rules(NamedTuple):
    """The patterns of one rule file, whose name they carry; their paths are relative to `base`."""

    base: PurePath
    spec: GitIgnoreSpec
    name: str


class _Moment(NamedTuple):
    """The findings of one look at the disk: patterns by rule file, rules by folder, and why a folder is excluded."""

    specs: dict[Path, GitIgnoreSpec | None]
    rules: dict[Path, list[_Rules]]
    reasons: dict[Path, str]


class IgnoreRules:
    """The ignore rules of one root, which must be a resolved path. Rule files are read again when they change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._top = _repository_of(root)
        self._parsed: dict[Path, tuple[tuple[int, int], GitIgnoreSpec]] = {}
        self._moment: _Moment | None = None

    @contextmanager
    def at_one_moment(self) -> Iterator[None]:
        """Look at each rule file only once within this context, however many files are judged."""
        self._moment = _Moment({}, {}, {})
        try:
            yield
        finally:
            self._moment = None

    def reason(self, path: Path) -> str:
        """Return the pattern that excludes a file, and where it stands; "" if none does. `path` lies below the root."""
        if why := secret_reason(path.relative_to(self.root)):
            return why
        for folder in reversed([folder for folder in path.parents if self.root in folder.parents]):
            if why := self._folder_reason(folder):
                return why
        return self.entry_reason(path, is_folder=False)

    def _folder_reason(self, folder: Path) -> str:
        known = self._moment.reasons if self._moment else {}
        if folder not in known:
            known[folder] = self.entry_reason(folder, is_folder=True)
        return known[folder]

    def entry_reason(self, path: Path, *, is_folder: bool) -> str:
        """Return the pattern that excludes one entry of a folder that is not excluded itself; "" if none does."""
        if why := secret_reason(PurePath(path.name), is_folder=is_folder):
            return why
        if is_folder and (path / "pyvenv.cfg").is_file():
            return f"a virtual environment ({BUILT_IN})"
        return _decide(self._rules_of(path.parent), path, is_folder=is_folder)

    def _rules_of(self, folder: Path) -> list[_Rules]:
        """Return all rules that hold in a folder, in order; the last that matches decides."""
        known = self._moment.rules if self._moment else {}
        if folder not in known:
            known[folder] = self._read_rules_of(folder)
        return known[folder]

    def _read_rules_of(self, folder: Path) -> list[_Rules]:
        folders = [f for f in (folder, *folder.parents) if f == self._top or self._top in f.parents]
        found = [_Rules(self.root, _built_in(CLUTTER_PATTERNS), BUILT_IN)]
        files = [(self._top, self._top / ".git" / "info" / "exclude")]
        files += [(f, f / name) for name in RULE_FILES for f in reversed(folders)]
        for base, file in files:
            if (spec := self._parse(file)) is not None:
                found.append(_Rules(base, spec, file.relative_to(self._top).as_posix()))
        return found

    def _parse(self, file: Path) -> GitIgnoreSpec | None:
        known = self._moment.specs if self._moment else {}
        if file not in known:
            known[file] = self._parse_now(file)
        return known[file]

    def _parse_now(self, file: Path) -> GitIgnoreSpec | None:
        try:
            found = file.stat()
        except OSError:
            return None
        stamp = (found.st_mtime_ns, found.st_size)
        if file in self._parsed and self._parsed[file][0] == stamp:
            return self._parsed[file][1]
        try:
            with file.open(encoding="utf-8", errors="replace") as opened:
                spec = parse_rules(opened.read(MAX_RULES_BYTES).splitlines())
        except OSError:
            return None
        self._parsed[file] = stamp, spec
        return spec


def secret_reason(path: PurePath, *, is_folder: bool = False) -> str:
    """Return the built-in pattern against secrets that one of a path's names matches, or ""."""
    if not is_folder and _CODE.fullmatch(path.name.lower()):
        path, is_folder = path.parent, True
    lowered = path.as_posix().lower().lstrip("/") + ("/" if is_folder else "")
    if not _any_of(SECRET_PATTERNS).search(lowered):
        return ""
    found = _built_in(SECRET_PATTERNS).check_file(lowered)
    return f"{_pattern(_built_in(SECRET_PATTERNS), found.index)} ({BUILT_IN})" if found.include else ""


def parse_rules(lines: Iterable[str]) -> GitIgnoreSpec:
    """Parse the patterns of a rule file. Like git, leave out lines that are no pattern."""
    from pathspec import GitIgnoreSpec  # noqa: PLC0415 - not before the `initialize` answer
    from pathspec.patterns.gitignore.base import GitIgnorePatternError  # noqa: PLC0415

    patterns: list[Any] = []
    for line in lines:
        with suppress(GitIgnorePatternError):
            patterns += GitIgnoreSpec.from_lines([_bounded(line)]).patterns
    return GitIgnoreSpec(patterns)


def _bounded(line: str) -> str:
    """Return the rule, widened to exclude more if it has too many wildcards; a rule that takes back is then dropped."""
    parts = line.split("/")
    wide = [_bounded_part(part) for part in parts]
    folders = [number for number, part in enumerate(wide) if part == "**"]
    if len(folders) > MAX_WILDCARDS:
        wide[folders[0] : folders[-1] + 1] = ["**"]
    return line if wide == parts else "" if line.startswith("!") else "/".join(wide)


def _bounded_part(part: str) -> str:
    if part.count("*") <= MAX_WILDCARDS:
        return part
    if "[" in part or "\\" in part:
        return "*"
    return f"{part.partition('*')[0]}*{part.rpartition('*')[2]}"


def _decide(rules: Sequence[_Rules], path: Path, *, is_folder: bool) -> str:
    reason = ""
    for base, spec, name in rules:
        relative = path.relative_to(base).as_posix() + ("/" if is_folder else "")
        if name is BUILT_IN and not _any_of(CLUTTER_PATTERNS).search(relative.lower()):
            continue
        found = spec.check_file(relative.lower() if name is BUILT_IN else relative)
        if found.include is not None:
            reason = f"{_pattern(spec, found.index)} ({name})" if found.include else ""
    return reason


def _pattern(spec: GitIgnoreSpec, index: int | None) -> str:
    return "" if index is None else str(getattr(spec.patterns[index], "pattern", ""))


def _repository_of(root: Path) -> Path:
    """Return the folder of the repository around a root; its rules hold in the root too."""
    return next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), root)


@cache
def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Join patterns into one expression. Most names match none, and a hundred searches for that would cost too much."""
    forms = (getattr(pattern, "regex", None) for pattern in _built_in(patterns).patterns)
    return re.compile("|".join(re.sub(r"\(\?P<\w+>", "(?:", form.pattern) for form in forms if form))


@cache
def _built_in(patterns: tuple[str, ...]) -> GitIgnoreSpec:
    return parse_rules(patterns)
