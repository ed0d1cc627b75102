"""Implements `tabcast engine add|list|test|use`: the servers of the user's configuration file."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
import tomllib
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from decoding.protocol import (
    EXIT_USAGE,
    CompletionOptions,
    CompletionRequest,
    config_line,
    edited_config,
    replace_config,
    user_config_path,
)
from lsp_server.cli.errors import EXIT_FAILED, CommandError
from lsp_server.cli.running import running_engines
from lsp_server.engine.choosing import known_engines
from lsp_server.engine.engines_file import LOCAL, EngineFileError, RemoteSpec, check_engine
from lsp_server.engine.model_choice import EngineSpec
from lsp_server.engine.remote import RemoteEngine
from lsp_server.engine.stream import Delta, EngineUnavailable

# A line that any model of code completes, with something behind the cursor.
SAMPLE: Final = CompletionRequest(
    prompt="def add(first, second):\n    return ",
    suffix="\n\n\nprint(add(1, 2))\n",
    max_tokens=24,
    tabcast=CompletionOptions(path="sample.py", language="python", line_mode="line", confidence=True),
)
FIELDS: Final = (
    "kind", "url", "model", "api_key_env", "api_key_file", "ca_file", "fallback", "hybrid", "fim", "plain_http",
    "context_tokens",
)  # fmt: skip
# chosen: longer than a server takes that reads a model from disk before it answers.
TEST_TIMEOUT_S: Final = 120.0
FORMS: Final = {"server": "laid out by the server", "none": "none: only the text before the cursor goes"}


def run(options: argparse.Namespace) -> int:
    """Run the requested action and return the exit code."""
    try:
        match options.action:
            case "add":
                return _add(options)
            case "use":
                return _use(options.name, as_json=options.json)
            case "test":
                return asyncio.run(_test(known_engines().named(options.name), as_json=options.json))
            case _:
                return _list(as_json=options.json)
    except EngineFileError as error:
        raise CommandError(str(error), EXIT_USAGE) from None


def _add(options: argparse.Namespace) -> int:
    given = {name: getattr(options, name) for name in FIELDS if getattr(options, name) not in (None, False)}
    for name in ("api_key_file", "ca_file"):
        if name in given:
            given[name] = str(Path(given[name]).expanduser().absolute())
    spec = check_engine(options.name, given)
    # What was said of an engine of this name before doesn't hold any more.
    path = _write(f"engines.{spec.name}", {name: given.get(name) for name in FIELDS})
    if options.json:
        print(json.dumps({"added": spec.name, "config": str(path)}))
    else:
        print(f"{spec.name} is in {path}; 'tabcast engine test {spec.name}' tries it, and")
        print(f"'tabcast engine use {spec.name}' lets your editors use it")
    return 0


def _use(name: str, *, as_json: bool) -> int:
    if name != LOCAL:
        known_engines().named(name)
    path = _write("engines", {"use": name})
    if as_json:
        print(json.dumps({"use": name, "config": str(path)}))
    else:
        who = "the engine on this machine" if name == LOCAL else name
        print(f"editors use {who} from their next start on, or after the command tabcast.server.restartEngine")
    return 0


def _list(*, as_json: bool) -> int:
    file = known_engines()
    running = asyncio.run(running_engines())
    if as_json:
        engines = [{**asdict(spec), "used": name == file.use, "problem": ""} for name, spec in file.engines.items()]
        engines += [{"name": name, "used": name == file.use, "problem": text} for name, text in file.problems.items()]
        print(json.dumps({"use": file.use or LOCAL, "engines": engines, "running": [asdict(one) for one in running]}))
        return 0
    print(f"{'*' if not file.use else ' '} {LOCAL}: the engine on this machine")
    for one in running:
        print(f"    runs: {one}")
    for name, spec in file.engines.items():
        more = ", ".join(part for part in (spec.kind, spec.model) if part)
        print(f"{'*' if name == file.use else ' '} {name}: {spec.url}{f' ({more})' if more else ''}")
    for problem in file.problems.values():
        print(f"! {problem}")
    return 0


async def _test(spec: RemoteSpec, *, as_json: bool) -> int:
    """Complete a line and tell what answered, how fast, and what is missing."""
    client = RemoteEngine(spec, EngineSpec.from_environment())
    try:
        async with asyncio.timeout(TEST_TIMEOUT_S):
            told = await try_engine(client)
    except (EngineUnavailable, TimeoutError) as error:
        problem = str(error) or f"engine {spec.name}: no line came within {TEST_TIMEOUT_S:.0f} s; look at its own log"
        if as_json:
            print(json.dumps({"name": spec.name, "ok": False, "problem": problem}))
            return EXIT_FAILED
        raise CommandError(problem) from None
    finally:
        await client.close()
    if as_json:
        print(json.dumps({"name": spec.name, "ok": True, "problem": "", **told}, ensure_ascii=False))
        return 0
    form = FORMS.get(told["fim"], f"{told['fim']}'s tokens, laid out here")
    window = f"{told['context_tokens']} tokens" if told["context_tokens"] else "unknown"
    print(f"kind      {told['kind']}\nmodel     {told['model']}\nprompt    {form}\nwindow    {window}")
    print(f"latency   first text after {told['first_ms']:.0f} ms, the line after {told['line_ms']:.0f} ms")
    print(f"answer    {told['text'].strip() or '(nothing)'}")
    for line in told["missing"]:
        print(f"missing   {line}")
    return 0


async def try_engine(client: RemoteEngine) -> dict[str, Any]:
    """Complete a line and return what answered, how fast, and what is missing. Raises `EngineUnavailable`."""
    await client.wait_ready()
    facts, adapter = client.facts, client.adapter
    if facts is None or adapter is None:
        raise EngineUnavailable("the server can't be told", "failed")
    text, num_scored, first_s, began_s = "", 0, 0.0, time.perf_counter()
    async with aclosing(client.complete(SAMPLE)) as parts:
        async for part in parts:
            if isinstance(part, Delta):
                first_s = first_s or time.perf_counter() - began_s
                text += part.text
                num_scored += len(part.confidence)
    line_s = time.perf_counter() - began_s
    missing = []
    if facts.fim == "none":
        missing.append("how its model fills in the middle; name the family by fim, such as fim = 'qwen'")
    if not num_scored:
        missing.append("log-probabilities: suggestions can't be cut where they become improbable")
    if not facts.context_tokens and facts.kind != "tabcast":
        missing.append("the length of its window; 4096 tokens are assumed unless context_tokens names another")
    if adapter.is_metered:
        missing.append("nothing is asked ahead, because each request may be paid for")
    if not text.strip():
        missing.append("an answer to a simple line; is it a model for code?")
    return {
        "kind": facts.kind,
        "model": facts.model,
        "fim": facts.fim,
        "context_tokens": facts.context_tokens,
        "destination": client.destination,
        "first_ms": round(first_s * 1000, 1),
        "line_ms": round(line_s * 1000, 1),
        "text": text,
        "missing": missing,
    }


def _write(table: str, values: dict[str, Any]) -> Path:
    """Set the values of a table in the user's file. Raises `CommandError`, and then the file stays as it was."""
    path = user_config_path(os.environ)
    try:
        before = path.read_bytes().decode() if path.is_file() else ""
        after = edited_config(before, table, values)
        expected = tomllib.loads(before)
        place = expected
        for part in table.split("."):
            place = place.setdefault(part, {})
        place |= {key: value for key, value in values.items() if value is not None}
        for key in [key for key, value in values.items() if value is None]:
            place.pop(key, None)
        is_right = tomllib.loads(after) == expected
    except (ValueError, TypeError, AttributeError) as error:
        raise CommandError(f"{path} can't be read: {error}") from None
    except OSError as error:
        raise CommandError(f"{path} can't be read: {error.strerror}") from None
    if not is_right:
        lines = "; ".join(config_line(key, value) for key, value in values.items() if value is not None)
        raise CommandError(f"{path} has an unusual form and was left alone; write into its [{table}] table: {lines}")
    try:
        replace_config(path, after)
    except OSError as error:
        raise CommandError(f"{path} can't be written: {error.strerror}") from None
    return path
