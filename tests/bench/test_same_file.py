"""Our text and perplexity beside llama.cpp's: where two texts part, what is compared, and what its programs answer."""

from __future__ import annotations

import argparse
import stat
import sys
from pathlib import Path

import pytest
from rich.progress import Progress

from decoding.bench.harness import llama_server
from decoding.bench.harness.llama_server import Chosen
from decoding.bench.suites import same_file
from decoding.config import EngineConfig
from decoding.errors import TabcastError
from decoding.models.loading.model_set import ModelSet
from tests.gguf_corpus import PYTHON

PROMPT = list(range(20, 60))
SERVER = """
import argparse, json, os
from http.server import BaseHTTPRequestHandler, HTTPServer
parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int)
options, _ = parser.parse_known_args()

class Handler(BaseHTTPRequestHandler):
    def answer(self, body):
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.answer({"status": "ok"})

    def do_POST(self):
        assert self.headers["Authorization"] == "Bearer " + os.environ["LLAMA_API_KEY"]
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked["n_predict"] > 99:
            return self.answer({"error": {"message": "too many"}})
        most = [{"id": 7, "logprob": -0.25}, {"id": 8, "logprob": -2.0}]
        place = {"id": 7, "logprob": -0.25, "top_logprobs": most}
        places = [place] * (asked["n_predict"] - 1)  # a token within a character has none
        tokens = [7, 9, *[7] * (asked["n_predict"] - 2)]
        self.answer({"completion_probabilities": places, "tokens": tokens})

    def log_message(self, *_):
        pass

HTTPServer(("127.0.0.1", options.port), Handler).serve_forever()
"""


def program(file: Path, text: str) -> str:
    file.write_text(f"#!{sys.executable}\n{text}", encoding="utf-8")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return str(file)


def greedy(models: ModelSet, num_tokens: int) -> list[Chosen]:
    cache, pending, found = models.target.new_cache(), PROMPT, []
    for _ in range(num_tokens):
        (first, second), (token_id, _) = (
            item.tolist() for item in models.target.advance(pending, cache).log_softmax(-1).topk(2)
        )
        found.append(Chosen(token_id=token_id, log_probability=first, gap=first - second))
        pending = [token_id]
    return found


def test_equal_texts_do_not_part(pair: ModelSet) -> None:
    parting, apart = same_file.compare(pair, PROMPT, greedy(pair, 12))
    assert parting is None
    assert len(apart) == 12
    assert max(apart) < 1e-3


def test_where_texts_part_both_gaps_are_told(pair: ModelSet) -> None:
    theirs = greedy(pair, 12)
    other = theirs[5].token_id + 1
    theirs[5] = Chosen(token_id=other, log_probability=-1, gap=0.125)
    parting, apart = same_file.compare(pair, PROMPT, theirs)
    assert parting is not None
    assert (parting.at, parting.ours, parting.theirs, parting.their_gap) == (5, other - 1, other, 0.125)
    assert parting.our_gap == pytest.approx(greedy(pair, 6)[5].gap, abs=1e-3)
    assert len(apart) == 5
    theirs[3] = Chosen(token_id=theirs[3].token_id)
    assert len(same_file.compare(pair, PROMPT, theirs)[1]) == 4


def test_prompts_are_spread_over_the_text() -> None:
    prompts = same_file.prompts_of(range(1000), 4)
    assert [prompt[0] for prompt in prompts] == [0, 210, 420, 630]
    assert {len(prompt) for prompt in prompts} == {same_file.PROMPT_TOKENS}
    with pytest.raises(TabcastError, match="too few for 40 prompts"):
        same_file.prompts_of(range(180), 40)


def test_a_chunk_counts_from_its_middle(pair: ModelSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(same_file, "CHUNK", 32)
    chunks = same_file.chunks_of(pair, PYTHON)
    token_ids = pair.encode(PYTHON)
    assert chunks == [token_ids[at : at + 32] for at in range(0, len(token_ids) // 32 * 32, 32)]
    cache, nats = pair.target.new_cache(), 0.0
    for at, token_id in enumerate(chunks[0][:-1]):
        row = pair.target.advance([token_id], cache).log_softmax(-1)
        nats -= float(row[chunks[0][at + 1]]) if at >= 16 else 0
    assert same_file.chunk_nats(pair, chunks[0]) == pytest.approx(nats, rel=1e-4)


def test_a_server_is_started_asked_and_ended(tmp_path: Path) -> None:
    name = program(tmp_path / "llama-server", SERVER)
    with llama_server.serve(name, tmp_path / "x.gguf", max_len=64, threads=1) as server:
        usual = Chosen(token_id=7, log_probability=-0.25, gap=1.75)
        assert server.complete(PROMPT, 4) == [usual, Chosen(token_id=9), usual, usual]
        with pytest.raises(TabcastError, match="too many"):
            server.complete(PROMPT, 100)
    with pytest.raises(OSError, match="refused"):
        server.complete(PROMPT, 4)


@pytest.mark.parametrize("text", ["print('no such model')\n", None])
def test_a_program_that_fails_is_told(text: str | None, tmp_path: Path) -> None:
    name = str(tmp_path / "absent") if text is None else program(tmp_path / "llama", text)
    expected = r"can't be (run|started)" if text is None else "no such model"
    serving = llama_server.serve(name, tmp_path / "x.gguf", max_len=64, threads=1)
    with pytest.raises(TabcastError, match=expected), serving:
        pass
    with pytest.raises(TabcastError, match=expected):
        llama_server.perplexity(name, tmp_path / "x.gguf", "text", chunk=32, threads=1)


def test_perplexities_are_compared_on_equal_chunks(
    pair: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(same_file, "CHUNK", 32)
    chunks = same_file.chunks_of(pair, PYTHON)
    said = "print('perplexity: calculating perplexity over {} chunks')\nprint('Final estimate: PPL = 500.0 +/- 1')\n"
    (tmp_path / "x.gguf").touch()
    (tmp_path / "code.py").write_text(PYTHON, encoding="utf-8")
    selected = EngineConfig(model=str(tmp_path / "x.gguf"))
    server = program(tmp_path / "llama-server", SERVER)
    options = argparse.Namespace(
        selected=selected, text=[tmp_path / "code.py"], prompts=1, max_tokens=4, llama_server=server
    )
    monkeypatch.setattr(same_file, "PROMPT_TOKENS", 16)
    options.llama_perplexity = program(tmp_path / "llama-perplexity", said.format(len(chunks)))
    rows = {row["method"]: row for row in same_file.run(options, pair, Progress())}
    assert rows["greedy text"]["count"] == 1
    assert rows["perplexity"]["llama_cpp"] == 500
    assert rows["perplexity"]["count"] == 15 * len(chunks)
    ours = rows["perplexity"]["ours"]
    assert rows["perplexity"]["difference_percent"] == pytest.approx(100 * (ours / 500 - 1), abs=0.01)
    options.llama_perplexity = program(tmp_path / "llama-perplexity", said.format(len(chunks) + 1))
    with pytest.raises(TabcastError, match="tokens differ"):
        list(same_file.run(options, pair, Progress()))


def test_a_folder_or_an_absent_text_is_told(pair: ModelSet, tmp_path: Path) -> None:
    options = argparse.Namespace(selected=EngineConfig(model=str(tmp_path)), text=[tmp_path / "absent.py"])
    with pytest.raises(TabcastError, match="one GGUF file"):
        list(same_file.run(options, pair, Progress()))
    (tmp_path / "x.gguf").touch()
    options.selected = EngineConfig(model=str(tmp_path / "x.gguf"))
    with pytest.raises(TabcastError, match="a text can't be read"):
        list(same_file.run(options, pair, Progress()))
