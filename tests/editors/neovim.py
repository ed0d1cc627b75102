"""A real Neovim for one test: typed into, looked at, closed. Knows Neovim's API, not what the server should answer."""

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pynvim  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[2]
# What shows the ghost text, and where it keeps it.
NAMESPACES = {"own": "tabcast.ghost", "builtin": "nvim.lsp.inline_completion"}


def text_of(marks: list[Any]) -> str:
    """The virtual text of some extended marks."""
    lines = [line for *_, details in marks for line in [details.get("virt_text", []), *details.get("virt_lines", [])]]
    return "\n".join("".join(chunk[0] for chunk in line) for line in lines)


class Neovim:
    """One Neovim process with a file open, set up as editors/README.md says."""

    def __init__(self, program: Path, command: Sequence[str], file: Path, home: Path, shows: str = "own") -> None:
        """Start it; `home` takes everything Neovim and the server write, `shows` is one of NAMESPACES."""
        self._namespace = NAMESPACES[shows]
        environment = {
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_DATA_HOME": str(home / "data"),
            "XDG_STATE_HOME": str(home / "state"),
            "XDG_CACHE_HOME": str(home / "cache"),
            "TEST_PLUGIN": str(ROOT / "editors" / "neovim"),
            "TEST_COMMAND": json.dumps(list(command)),
            "TEST_SHOWS": shows,
        }
        self._attach(program, environment, ["-u", str(Path(__file__).with_name("init.lua")), str(file)])

    @classmethod
    def of_user(cls, program: Path, init: str, path: str, file: Path, home: Path, shows: str) -> Self:
        """Start it as a user with nothing but this `init.lua` in the usual place would."""
        self = cls.__new__(cls)
        self._namespace = NAMESPACES[shows]
        (home / ".config" / "nvim").mkdir(parents=True)
        (home / ".config" / "nvim" / "init.lua").write_text(init)
        self._attach(program, {"HOME": str(home), "PATH": path}, [str(file)])
        return self

    @classmethod
    def with_init(cls, program: Path, init: Path, environment: Mapping[str, str], file: Path) -> Self:
        """Start it with another file in place of tests/editors/init.lua."""
        self = cls.__new__(cls)
        self._namespace = NAMESPACES["own"]
        self._attach(program, environment, ["-u", str(init), str(file)])
        return self

    def _attach(self, program: Path, environment: Mapping[str, str], arguments: list[str]) -> None:
        # pynvim has no argument for the child's environment.
        setting = [f"{name}={value}" for name, value in environment.items()]
        unset = [f"--unset={name}" for name in os.environ if name.startswith("XDG_") and name not in environment]
        argv = ["/usr/bin/env", *unset, *setting, str(program), "--embed", "--headless", *arguments]
        self._api = pynvim.attach("child", argv=argv)

    def open(self, file: Path) -> None:
        """Show another file in place of the one that is shown, which need not be saved."""
        self._api.command("stopinsert")
        self._api.command(f"edit! {file}")

    def is_attached(self) -> bool:
        """Whether the language server answered `initialize`, was given the buffer, and what shows ghost text listens.

        Neovim's own listens a moment later, and what was typed before is never asked for.
        """
        attached = "c ~= nil and c.initialized and vim.lsp.buf_is_attached(0, c.id)"
        if not self._api.exec_lua(f"local c = vim.lsp.get_clients()[1] return {attached}"):
            return False
        group = {"tabcast.ghost": "tabcast.buffer"}.get(self._namespace, self._namespace)
        listening = (
            "local group = ... "
            "for _, autocmd in ipairs(vim.api.nvim_get_autocmds({ event = 'InsertEnter', buffer = 0 })) do "
            "  if vim.startswith(autocmd.group_name or '', group) then return true end "
            "end return false"
        )
        return bool(self._api.exec_lua(listening, group))

    def type(self, keys: str) -> None:
        """Type keys, in Neovim's notation."""
        self._api.input(keys)

    def text(self) -> str:
        """The whole document."""
        return "\n".join(self._api.current.buffer[:])

    def ghost(self) -> str:
        """The ghost text on the screen, empty where there is none."""
        namespace = self._api.api.create_namespace(self._namespace)
        return text_of(self._api.api.buf_get_extmarks(0, namespace, 0, -1, {"details": True}))

    def lua(self, code: str, *arguments: object) -> Any:
        """What a piece of Lua returns."""
        return self._api.exec_lua(code, *arguments)

    def type_at_ghost(self, keys: str) -> str:
        """Type keys, and return the ghost text that they met: Neovim handles keys before any message of a server."""
        marks = self.lua(
            "local namespace, keys = vim.api.nvim_create_namespace((...)), select(2, ...) "
            "local marks = vim.api.nvim_buf_get_extmarks(0, namespace, 0, -1, {details=true}) "
            "vim.api.nvim_input(keys) return marks",
            self._namespace,
            keys,
        )
        return text_of(marks)

    def num_pending(self) -> int:
        """How many inline completions are asked for and neither answered nor cancelled."""
        return int(
            self.lua(
                "local num = 0 "
                "for _, request in pairs(vim.lsp.get_clients()[1].requests) do "
                "  num = num + (request.type == 'pending' and 1 or 0) "
                "end return num"
            )
        )

    def server_pid(self) -> int:
        """The process id of the language server; the newest, where an older one is still ending; 0 without any."""
        pids = self.lua("return vim.api.nvim_get_proc_children(vim.fn.getpid())")
        return max((int(pid) for pid in pids), default=0)

    def num_requests(self) -> tuple[int, int]:
        """How many inline completions were asked for, and how many were answered."""
        return self._api.vars["num_sent"], self._api.vars["num_answered"]

    def close(self) -> None:
        """End Neovim, and with it the language server."""
        with contextlib.suppress(EOFError, OSError):  # it is gone before it can answer
            self._api.command("qall!")
        self._api.close()
