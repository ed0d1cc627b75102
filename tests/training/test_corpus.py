"""What the corpus takes and what it leaves out."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest

from decoding.__main__ import main
from decoding.errors import TabcastError
from decoding.training import corpus, duplicates, filtering
from decoding.training import tokenizer as training_tokenizer
from tests.tiny_models import make_tokenizer
from tests.training.conftest import NAMES, SOURCE


def _text(seed: int, *, lines: int = 40) -> str:
    rng = random.Random(seed)
    return "".join(
        f"{rng.choice(NAMES)}_{rng.randrange(9)} = {rng.choice(NAMES)}({rng.choice(NAMES)})\n" for _ in range(lines)
    )


LEFT_OUT = {
    "short.py": "x = 1\n",
    "made.py": "# Auto-generated, do not edit\n" + _text(1),
    "table.py": "values = [\n" + "    1234, 5678, 91011, 12131,\n" * 60 + "]\n",
    "keys.py": _text(2) + "key = 'AKIA" + "ABCDEFGH12345678" + "'\n",
    "tests/test_area.py": _text(3),
    "_vendor/area.py": _text(4),
    "service_pb2.py": _text(5),
    "wide.py": _text(6) + "x = '" + "word " * 100 + "'\n",
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_file_not_worth_learning_is_left_out(sources: Path, name: str) -> None:
    (sources / name).parent.mkdir(exist_ok=True)
    (sources / name).write_text(LEFT_OUT[name], encoding="utf-8")
    assert {file.path for file in corpus.collect(roots=[sources])} == {f"{name}.py" for name in NAMES}


def test_what_was_left_out_is_counted_by_its_reason(sources: Path) -> None:
    for name, text in LEFT_OUT.items():
        (sources / name).parent.mkdir(exist_ok=True)
        (sources / name).write_text(text, encoding="utf-8")
    (sources / "zz_copy.py").write_text(
        (sources / "area.py").read_text(encoding="utf-8") + "\n# more\n", encoding="utf-8"
    )
    dropped = corpus.Dropped()
    kept = list(corpus.collect(roots=[sources], dropped=dropped))
    assert dropped.reasons == {"kept": 10, "path or size": 4, "generated or data": 3, "secret": 1, "near copy": 1}
    assert len(kept) == 10


@pytest.mark.parametrize(
    ("changed", "is_copy"),
    [
        (lambda text: text, True),
        (lambda text: text.replace("\n", "\n\n").replace(" = ", "="), True),
        (lambda text: text.replace("area_3", "surface_3"), True),
        (lambda text: "# a licence and a heading\n" + text + "print('the end')\n", True),
        (lambda text: text[: len(text) // 3] + _text(9), False),
        (lambda text: _text(9), False),
    ],
)
def test_near_copies(changed: object, is_copy: bool) -> None:
    copies = duplicates.NearCopies()
    text = _text(7, lines=200)
    assert not copies.is_near_copy(text)
    assert copies.is_near_copy(changed(text)) == is_copy  # type: ignore[operator]


@pytest.mark.parametrize("text", ["", "x", "a b c"])
def test_tiny_texts_have_signatures_too(text: str) -> None:
    copies = duplicates.NearCopies()
    assert not copies.is_near_copy(text)
    assert copies.is_near_copy(text)


def test_a_file_that_holds_an_evaluation_row_is_left_out(sources: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl.gz"
    with gzip.open(rows, "wt", encoding="utf-8") as out:
        out.write(json.dumps({"id": 1, "prompt": SOURCE.format(name="area_area", number=0)}) + "\n")
    evaluation = filtering.evaluation_runs([rows])
    kept = {file.path for file in corpus.collect(roots=[sources], evaluation=evaluation)}
    assert "area.py" not in kept
    assert "angle.py" in kept


@pytest.mark.parametrize(
    "text",
    [
        "token = 'ghp_" + "a1" * 18 + "'",
        "-----BEGIN RSA " + "PRIVATE KEY-----\n" + "MIIE" * 16,
        "key='sk-" + "Ab3" * 12 + "'",
    ],
)
def test_secrets_are_seen(text: str) -> None:
    assert filtering.holds_secret(text)


@pytest.mark.parametrize("text", ["-----BEGIN PRIVATE KEY-----", "sk-short", "the AKIA prefix", "task-" + "a" * 40])
def test_talk_about_secrets_is_none(text: str) -> None:
    assert not filtering.holds_secret(text)


def test_the_split_is_by_package_and_the_manifest_says_what_was_read(tmp_path: Path) -> None:
    made = [
        corpus.SourceFile(package=f"p{i % 40}", version="1.0", licence="MIT", path=f"m{i}.py", text="x = 1\n" * 60)
        for i in range(200)
    ]
    characters = corpus.write(made, tmp_path, held_out_share=0.3)
    train, held_out = (corpus.read(tmp_path / f"{split}.jsonl.gz") for split in ("train", "heldout"))
    assert sorted(train + held_out, key=lambda file: file.path) == sorted(made, key=lambda file: file.path)
    assert held_out
    assert not {file.package for file in train} & {file.package for file in held_out}
    assert characters == {"train": 360 * len(train), "heldout": 360 * len(held_out)}
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["p0"] == {
        "version": "1.0",
        "licence": "MIT",
        "split": "heldout" if any(file.package == "p0" for file in held_out) else "train",
        "characters": 1800,
        "bytes": 1800,
        "files": [f"m{i}.py" for i in range(0, 200, 40)],
    }


def test_packages_are_taken_by_their_licence_and_never_those_of_the_evaluation(tmp_path: Path) -> None:
    text = "".join((f"{name} = 1  # a thing\n" * 20) for name in NAMES)
    for name, licence in (("free", "MIT"), ("left", "GPL-3.0-only"), ("openai_agents", "MIT"), ("silent", "")):
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        line = f"License-Expression: {licence}\n" if licence else ""
        (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{line}", encoding="utf-8")
        (info / "RECORD").write_text(f"{name}.py,,\n", encoding="utf-8")
        (tmp_path / f"{name}.py").write_text(text.replace("thing", name), encoding="utf-8")
    ours = {"free", "left", "openai_agents", "silent"}
    found = [package for package in corpus.packages([tmp_path]) if package[0] in ours]
    assert [(name, version, licence) for name, version, licence, _ in found] == [("free", "1.0", "MIT")]
    assert [path.name for _, path in found[0][3]] == ["free.py"]


def test_a_full_disk_leaves_the_older_corpus(
    files: list[corpus.SourceFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "corpus"
    corpus.write(files, folder)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(corpus, "asdict", full)
    with pytest.raises(TabcastError, match="No space left"):
        corpus.write(files[:1], folder)
    assert corpus.read(folder / "train.jsonl.gz") == files
    assert sorted(path.name for path in folder.iterdir()) == ["heldout.jsonl.gz", "manifest.json", "train.jsonl.gz"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["corpus", "--root", "EMPTY", "--out", "OUT"], "the corpus is empty"),
        (["corpus", "--root", "EMPTY", "--out", "OUT", "--evaluation", "MISSING"], "can't be read"),
        (["tokenizer", "--corpus", "EMPTY", "--out", "OUT"], "holds no corpus"),
        (["tokenizer", "--corpus", "CUT", "--out", "OUT"], "cut short"),
        (["tokenizer", "--corpus", "OTHER", "--out", "OUT"], "no file of a corpus"),
        (["target", "--corpus", "LITTLE", "--tokenizer", "TOKENIZER", "--out", "OUT", "--steps", "1"], "are needed"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("EMPTY", "CUT", "OTHER", "LITTLE"):
        (tmp_path / name).mkdir()
    little = [json.dumps({"package": "p", "version": "", "licence": "MIT", "path": "a.py", "text": "x = 1\n" * 60})] * 9
    whole = gzip.compress("\n".join(little).encode())
    for name, content in {"CUT": whole[:-20], "OTHER": b"no archive", "LITTLE": whole}.items():
        (tmp_path / name / "train.jsonl.gz").write_bytes(content)
    training_tokenizer.save(make_tokenizer(), tmp_path / "TOKENIZER")
    given = [str(tmp_path / word) if word.isupper() else word for word in arguments]
    assert main(["train", *given]) != 0
    assert message in capsys.readouterr().err
