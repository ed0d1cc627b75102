"""llama.cpp's server is asked as its plugins do: the place is read first, each key aborts the request before."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from decoding.__main__ import main
from decoding.bench.harness.jump_places import JumpFile
from decoding.bench.suites import jump_llama_cpp
from decoding.bench.suites.jump import Pace
from tests.bench.test_jump import FRONT_END
from tests.bench.test_llama_program import script

SERVER = r"""
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

options = dict(zip(sys.argv[1::2], sys.argv[2::2]))

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.headers["Authorization"] == "Bearer " + os.environ["LLAMA_API_KEY"]
        with open(os.path.join(os.path.dirname(__file__), "asked.jsonl"), "a") as file:
            file.write(json.dumps(request) + "\n")
        self.send_response(200)
        self.end_headers()
        typed = request["prompt"].strip()
        pieces = [] if not request["n_predict"] or len(typed) < 2 else ["rest", " of it"]
        for piece in pieces:
            self.wfile.write(b"data: " + json.dumps({"content": piece}).encode() + b"\n\n")
        self.wfile.write(b"data: " + json.dumps({"content": "", "stop": True}).encode() + b"\n\n")

    def log_message(self, *_):
        pass

ThreadingHTTPServer((options["--host"], int(options["--port"])), Handler).serve_forever()
"""


def test_each_place_is_read_and_then_asked_for_key_by_key(tmp_path: Path) -> None:
    program = script(tmp_path / "llama-server", SERVER)
    lines = ("one = 1", "    ", "three = 3", "")
    file = JumpFile(path=tmp_path / "a.py", language="python", lines=lines, holes=((1, "two = 2"),))
    pace = Pace(think_s=0.2, stay_s=0.0)
    (row,) = jump_llama_cpp.run(program, tmp_path / "model.gguf", 2, [("4 lines", [file])], [pace])
    assert (row["method"], row["count"], row["shown"]) == ("llama.cpp, 4 lines, 0.2 s", 1, 1)
    assert row["first_shown_ms_50"] >= row["first_token_ms_50"] > 0  # type: ignore[operator]
    asked = [json.loads(line) for line in (tmp_path / "asked.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(body["prompt"], body["n_predict"]) for body in asked] == [("    ", 0), ("    t", 48), ("    tw", 48)]
    assert {(body["input_prefix"], body["input_suffix"]) for body in asked} == {("one = 1\n", "\nthree = 3\n")}
    assert all(body["cache_prompt"] for body in asked)


def test_without_a_gguf_file_there_is_nothing_to_compare(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    for number, ending in enumerate((".py", ".ts", ".go")):
        text = "\n".join(f"value_{i} = compute({number}, {i})" for i in range(120))
        (folder / f"file{ending}").write_text(text, encoding="utf-8")
    size = ["--folder", str(folder), "--lines", "120", "--places", "2", "--per-file", "1"]
    arguments = ["bench", "jump", "--model", str(tiny_model), FRONT_END, *size, "--llama-server", sys.executable]
    assert main(arguments) == 2
    assert "llama.cpp reads GGUF files" in capsys.readouterr().err
