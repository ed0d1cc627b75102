"""Makes a draft for any target and code base, of one of two kinds: distilled, and measured before and after.

The kinds are a small model that drafts token by token, and one that drafts several tokens in one pass (parallel.py),
each cut out of the target or given; `heads_run.py` makes heads on the target itself. The measurement is the engine's
own decoding of held-out files, so that what it promises is what a user gets.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, PreTrainedModel

from decoding.errors import TabcastError
from decoding.models.folder.model_config import read_config
from decoding.models.folder.tokenizer_files import begin_token_ids, load_tokenizer, num_token_ids
from decoding.models.gguf.split_files import is_gguf
from decoding.models.parallel import MAX_TOKENS
from decoding.text.prompt_layout import find_layout
from decoding.training import corpus, evaluate_draft, pack, parallel, pretrain, prune
from decoding.training.chains import Continuation, agreement, write_on
from decoding.training.command_time import CommandTime
from decoding.training.distill import OwnContinuations, continue_greedily, distillation_loss
from decoding.training.export import export
from decoding.training.on_policy import Continue, EngineContinuation
from decoding.training.samples import SampleFormat, Samples

log = logging.getLogger(__name__)

MIN_CHARACTERS = 20_000
HELD_OUT_SHARE = 0.1
IMPORTANCE_BATCHES = 4
# Weights, gradients and the optimizer's two moments in float32.
BYTES_PER_TRAINED_PARAMETER = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftRecipe:
    """The draft to make: `begin_with` is the folder of one to train further, or None to cut `size` out of the target.

    `num_tokens` are guessed at a time by a parallel draft or heads, None for the usual number; of `size`, heads take
    the width. Heads learn from about `text_tokens`, None for as many as are usual, and the target writes `own_share`.
    """

    target: Path
    out: Path
    kind: str = evaluate_draft.MODEL
    begin_with: Path | None = None
    size: dict[str, int] | None = None
    num_tokens: int | None = None
    device: str = "cpu"
    row_len: int = 1024
    importance_batches: int = IMPORTANCE_BATCHES
    seed: int = 1
    text_tokens: int | None = None
    own_share: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftResult:
    """The worth of the draft on held-out files, before and after training, and whether that is finished.

    `speed` is None where no time was left to measure it.
    """

    before: evaluate_draft.Agreement
    after: evaluate_draft.Agreement
    speed: evaluate_draft.Speed | None
    is_finished: bool


def train(wanted: DraftRecipe, data: Sequence[Path], recipe: pretrain.Recipe, checkpoint: Path) -> DraftResult:
    """Make the draft and write it to `wanted.out`.

    Raises:
        TabcastError: too little data, another tokenizer, a size that can't be cut, a given draft that got worse (then
            nothing is written), or what `pretrain.run` raises.
    """
    check_num_tokens(wanted.num_tokens)
    clock = CommandTime(recipe.length.minutes)
    wanted = replace(wanted, importance_batches=clock.few(wanted.importance_batches))
    form = form_of(wanted.target)
    row_len = min(wanted.row_len, int(read_config(wanted.target).get("max_position_embeddings") or wanted.row_len))
    files, held_out = read_data(data)
    most = clock.few(evaluate_draft.NUM_PROMPTS)
    prompts = evaluate_draft.prompts_of(held_out, form, max_len=row_len - evaluate_draft.NEW_TOKENS, num_prompts=most)
    teacher = load_model(wanted.target, wanted.device, _teacher_type(wanted.device))
    feed = Samples(files, form, row_len=row_len, seed=wanted.seed)
    torch.manual_seed(wanted.seed)
    student = STUDENTS[wanted.kind](wanted, teacher, feed, form)
    log.info("%s", needs(teacher, student.module, recipe, row_len))
    go_on = _go_on(wanted, teacher, row_len)
    written = write_on(teacher, prompts, go_on)
    with clock.measuring():
        before = student.measure(written)
    own = OwnContinuations(feed, teacher, go_on)
    length = replace(recipe.length, minutes=clock.minutes_to_train())
    result = pretrain.run(
        student.module, own, replace(recipe, length=length), checkpoint, loss_of=student.loss, name="distilling"
    )
    if wanted.begin_with is None:
        student.write(wanted.out)
    after = student.measure(written)
    if wanted.begin_with is not None and after.share < before.share:
        raise TabcastError(
            f"training made {wanted.begin_with} worse on held-out files ({before.share:.0%} of the target's tokens "
            f"guessed, then {after.share:.0%}): nothing is written; more data or a smaller --rate-scale may help"
        )
    if wanted.begin_with is not None:
        student.write(wanted.out)
    log.info("on %d held-out prompts, before: %s", len(prompts), before)
    log.info("on %d held-out prompts, after:  %s", len(prompts), after)
    del teacher, own, student, go_on
    speed = None
    if clock.is_over:
        log.info("the time is over, so the engine's speed with it is not measured: 'tabcast bench decode' does that")
    else:
        speed = evaluate_draft.speed(wanted.target, wanted.out, prompts, device=wanted.device, kind=wanted.kind)
        log.info("decoding with it is %.2f times as fast as plain decoding", speed.speedup)
    return DraftResult(before=before, after=after, speed=speed, is_finished=result.is_finished)


def check_num_tokens(num_tokens: int | None) -> None:
    """Raise `TabcastError` if a draft can't guess so many tokens at a time."""
    if num_tokens is not None and not 2 <= num_tokens <= MAX_TOKENS:
        raise TabcastError(f"a draft guesses 2 to {MAX_TOKENS} tokens at a time, not {num_tokens}")


def form_of(folder: Path) -> SampleFormat:
    """Return the form of prompts for a model's folder. Raises `ModelError`."""
    config = read_config(folder)
    tokenizer = load_tokenizer(folder)
    ends = config.get("eos_token_id")
    end_ids = ends if isinstance(ends, list) else [ends] if ends is not None else []
    begin_ids = begin_token_ids(folder, tokenizer)
    layout = find_layout(tokenizer.get_vocab(), config.get("tabcast") or {}, end_ids, begin_ids=begin_ids)
    end_id = end_ids[0] if end_ids else min(layout.stop_ids, default=0)
    return SampleFormat(tokenizer=tokenizer, layout=layout, end_id=end_id)


def load_model(folder: Path, device: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Load the model of a folder that `read_config` accepted; nothing is fetched and no code of the folder runs."""
    kind = read_config(folder)["model_type"]
    if is_gguf(folder):
        raise TabcastError(f"{folder}: GGUF files can't be trained: name the model's Hugging Face folder")
    if kind not in prune.KINDS:
        raise TabcastError(f"{folder}: {kind} models can't be trained here ({', '.join(prune.KINDS)} can)")
    model: PreTrainedModel
    if pack.is_packed(folder):
        model = pack.load(folder, dtype)
    else:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
    model.to(device)  # type: ignore[arg-type]
    return model


def read_data(
    folders: Sequence[Path], endings: Sequence[str] = corpus.PYTHON
) -> tuple[list[corpus.SourceFile], list[corpus.SourceFile]]:
    """Read training and held-out files: of corpora that `train corpus` made, or of any folders with code.

    Raises:
        TabcastError: there is too little.
    """
    made = [folder for folder in folders if (folder / "train.jsonl.gz").is_file()]
    files, held_out = (
        [file for folder in made for file in corpus.read(folder / f"{split}.jsonl.gz")]
        for split in ("train", "heldout")
    )
    every = list(corpus.collect(roots=[folder for folder in folders if folder not in made], endings=endings))
    files += [file for file in every if not _is_held_out(file.path)]
    held_out += [file for file in every if _is_held_out(file.path)]
    if not held_out and len(files) > 1:
        held_out = [files.pop()]
    characters = sum(len(file.text) for file in files)
    if characters < MIN_CHARACTERS or not held_out:
        language = "Python" if endings == corpus.PYTHON else "code"
        raise TabcastError(
            f"{', '.join(map(str, folders))} has {characters} characters of {language} worth learning from in "
            f"{len(files)} files; "
            f"a draft needs {MIN_CHARACTERS} and a file beside them to measure with"
        )
    return files, held_out


def needs(teacher: PreTrainedModel, student: torch.nn.Module, recipe: pretrain.Recipe, row_len: int) -> str:
    """Return a sentence on the memory and time that the run will take."""
    frozen = sum(p.numel() * p.element_size() for p in teacher.parameters())
    trained = sum(p.numel() for p in student.parameters())
    tokens = recipe.num_rows * row_len
    config = getattr(student, "config", teacher.config)
    logits = 3 * 4 * tokens * config.vocab_size
    hidden = 16 * 2 * tokens * config.hidden_size * config.num_hidden_layers
    memory = (frozen + trained * BYTES_PER_TRAINED_PARAMETER + logits + hidden) / 2**30
    length = recipe.length
    limits = [f"{length.minutes:g} minutes in all"] if length.minutes is not None else []
    limits += [f"{length.steps} steps of {tokens} tokens"] if length.steps is not None else []
    return (
        f"a draft of {trained / 1e6:.1f} M parameters learns from {_millions(teacher)} M: about {memory:.1f} GiB of "
        f"memory, {' or '.join(limits)}"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Student:
    """The module that is trained, its loss, how it is measured on prompts, and how it is written into a folder."""

    module: torch.nn.Module
    loss: pretrain.Loss
    measure: Callable[[Sequence[Continuation]], evaluate_draft.Agreement]
    write: Callable[[Path], None]


def _small_model(wanted: DraftRecipe, teacher: PreTrainedModel, feed: Samples, form: SampleFormat) -> Student:
    model = _begin(wanted, teacher, feed, form.tokenizer)
    return Student(
        module=model,
        loss=distillation_loss(teacher),
        measure=lambda written: agreement(model, written),
        write=lambda out: export(model, wanted.target, out),
    )


def _parallel_model(wanted: DraftRecipe, teacher: PreTrainedModel, feed: Samples, form: SampleFormat) -> Student:
    model = _begin(wanted, teacher, feed, form.tokenizer)
    masks = parallel.prepare(model, num_token_ids(form.tokenizer.get_vocab()), wanted.num_tokens)
    return Student(
        module=model,
        loss=parallel.parallel_loss(teacher, masks),
        measure=lambda written: parallel.agreement(model, masks, written),
        write=lambda out: export(model, wanted.target, out),
    )


STUDENTS = {evaluate_draft.MODEL: _small_model, evaluate_draft.PARALLEL: _parallel_model}


def _millions(model: torch.nn.Module) -> str:
    return f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f}"


def _go_on(wanted: DraftRecipe, teacher: PreTrainedModel, row_len: int) -> Continue:
    """Choose how the teacher continues rows: by the engine where that is much quicker, by many rows on a GPU."""
    if wanted.device == "cpu":
        return EngineContinuation(wanted.target, device=wanted.device, max_len=row_len)
    return partial(continue_greedily, teacher)


def _begin(wanted: DraftRecipe, teacher: PreTrainedModel, feed: Samples, tokenizer: Tokenizer) -> PreTrainedModel:
    if wanted.begin_with is not None:
        if load_tokenizer(wanted.begin_with).get_vocab() != tokenizer.get_vocab():
            raise TabcastError(f"{wanted.begin_with} has another tokenizer than {wanted.target}: it can't draft for it")
        return load_model(wanted.begin_with, wanted.device)
    had = prune.Size.of(teacher)
    chosen = {name: getattr(had.smaller(), name) for name in prune.Size.__slots__}
    size = prune.Size(**{**chosen, **(wanted.size or {})})
    batches = [torch.from_numpy(feed.batch(1)) for _ in range(wanted.importance_batches)]
    try:
        student = prune.prune(teacher, prune.measure(teacher, batches), size)
    except ValueError as error:
        raise TabcastError(f"a draft of that size can't be cut out of {wanted.target}: {error}") from None
    log.info("cut %s M parameters out of the target: %s", _millions(student), size)
    return student


def _teacher_type(device: str) -> torch.dtype:
    return torch.bfloat16 if device.startswith("cuda") else torch.float32


def _is_held_out(path: str) -> bool:
    return int(hashlib.sha256(path.encode()).hexdigest()[:8], 16) < HELD_OUT_SHARE * 16**8
