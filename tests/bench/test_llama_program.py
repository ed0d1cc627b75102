"""A llama-server that the user names takes a GGUF file as it is; one that isn't one is told in a line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from decoding.__main__ import main
from decoding.bench.harness import llama_cpp, llama_program
from decoding.errors import TabcastError
from tests.gguf_models import tiny_gguf

SERVER = r"""
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
print("system_info: n_threads = 2 / 2 | CPU : AVX2 = 1 | AVX512_VNNI = 1 | AMX = 0 | ", flush=True)
asked = []

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        asked.append(1)
        self.send_response(503 if len(asked) < 3 else 200)
        self.end_headers()

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.headers["Authorization"] == "Bearer " + os.environ["LLAMA_API_KEY"]
        tokens = [len(request["prompt"])] * request["n_predict"]
        answer = {"tokens": tokens, "timings": {"prompt_ms": 10.0, "predicted_ms": 20.0}, "options": options}
        if "BROKEN" in os.environ:
            answer = {"error": {"message": "no such model"}}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())
        with open(os.path.join(os.path.dirname(__file__), "options.json"), "w") as file:
            json.dump(sys.argv[1:], file)

    def log_message(self, *_):
        pass

HTTPServer((options["--host"], int(options["--port"])), Handler).serve_forever()
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return script(tmp_path / "llama-server", SERVER)


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!{sys.executable}\n{text}", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_it_gets_the_file_as_it_is_and_tells_its_instruction_sets(
    program: Path, tiny_model: Path, tmp_path: Path
) -> None:
    file, draft = (tiny_gguf(tmp_path / f"{name}.gguf", tiny_model) for name in ("target", "draft"))
    limits = {"num_tokens": 4, "max_len": 256, "program": program}
    with llama_cpp.generators(file, draft, llama_cpp.NAMES, **limits) as found:  # type: ignore[arg-type]
        assert tuple(found) == llama_cpp.OF_FILE
        for row in found.values():
            assert row.generate([1, 2, 3]) == ([3, 3, 3, 3], 0.01, 0.02)
            assert row.settings.endswith("build: AVX2 AVX512_VNNI")
        found["llama.cpp-draft"].generate([1])
        given = json.loads((tmp_path / "options.json").read_text(encoding="utf-8"))
        assert given[given.index("-m") + 1] == str(file)
        assert given[given.index("-md") + 1] == str(draft)
    with llama_cpp.generators(file, None, llama_cpp.NAMES, **limits) as found:  # type: ignore[arg-type]
        assert "llama.cpp-draft" not in found


def test_no_row_of_a_folder_runs_a_file(tiny_model: Path, tmp_path: Path) -> None:
    file = tiny_gguf(tmp_path / "x.gguf", tiny_model)
    for model, names in ((file, list(llama_cpp.EXPORTED)), (tiny_model, list(llama_cpp.OF_FILE))):
        with (
            pytest.raises(TabcastError, match="its rows are llama"),
            llama_cpp.generators(model, None, names, num_tokens=4, max_len=256),
        ):
            pass


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", r"ended before it served \(exit code 0\) and says nothing"),
        ("import sys; print('usage: x'); sys.exit('no \x1b[1m model')", r"\(exit code 1\): no  \[1m model"),
        ("import time; time.sleep(60)", "didn't answer within 2 seconds"),
        (None, "can't be run: No such file"),
    ],
)
def test_what_is_no_server_is_told_in_a_line(
    text: str | None, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama_program, "START_S", 2.0 if text and "sleep" in text else 60.0)
    path = tmp_path / "llama-server"
    if text is not None:
        script(path, text)
    with pytest.raises(TabcastError, match=told) as caught, llama_program.running(path, []):
        pass
    assert "\n" not in str(caught.value)


def test_what_answers_otherwise_is_told(
    program: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKEN", "1")
    file = tiny_gguf(tmp_path / "x.gguf", tiny_model)
    with (
        pytest.raises(TabcastError, match="no such model"),
        llama_cpp.generators(file, None, [llama_cpp.PLAIN], num_tokens=4, max_len=256, program=program) as found,
    ):
        found[llama_cpp.PLAIN].generate([1])


def test_passes_of_a_file_stand_beside_the_memory_and_beside_llama_cpp(
    program: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decoding.bench.metrics.bandwidth.READ_BYTES", 1 << 16)
    file, out = tiny_gguf(tmp_path / "x.gguf", tiny_model), tmp_path / "p.json"
    options = ["--draft", "none", "--device", "cpu", "--context", "32"]
    options += ["--prompts", "40,100", "--baselines", "llama.cpp", "--llama-server", str(program)]
    assert main(["bench", "passes", "--model", str(file), *options, "--json", str(out)]) == 0
    rows = {row["method"]: row for row in json.loads(out.read_text(encoding="utf-8"))["rows"]}
    for count in (1, 2, 4, 8, 16):
        assert rows[f"target, step of {count}, 32 tokens"]["roofline_percent"] > 0
    for length in (40, 100):
        assert rows[f"target, a prompt of {length}"]["tokens_per_s"] > 0
        assert rows[f"llama.cpp-plain, a prompt of {length}"]["tokens_per_s"] == length / 0.01
    assert rows["target, step of 1, 32 tokens"]["read_mb"] > 0


TERMINATED = """
import sys, time
from pathlib import Path
from decoding.bench.harness import llama_program
with llama_program.running(Path(sys.argv[1]), []):
    print("ready", flush=True)
    time.sleep(600)
"""


def test_a_terminated_measurement_ends_it(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    note = f"import os\nwith open({str(mark)!r}, 'w') as file:\n    file.write(str(os.getpid()))\n"
    program = script(tmp_path / "llama-server", note + SERVER)
    command = [sys.executable, "-c", TERMINATED, str(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        process.wait()
    server = int(mark.read_text())
    ends = time.monotonic() + 30
    try:
        while time.monotonic() < ends and is_running(server):
            time.sleep(0.05)
        assert not is_running(server)
    finally:
        if is_running(server):
            os.kill(server, signal.SIGKILL)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/status")
    return not status.exists() or "State:\tZ" not in status.read_text(encoding="utf-8")
