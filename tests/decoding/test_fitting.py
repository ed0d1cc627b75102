"""How much of a prompt is read before an answer: what the time allows, and the text around the cursor in any case."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from decoding.completion.completion import prompt_tokens
from decoding.completion.fitting import fit
from decoding.completion.sessions import SessionPool
from decoding.models.loading.model_set import ModelSet
from decoding.protocol import ContextFile
from tests.decoding.test_reading import LINES, Client, at, cold, trunk


def test_headers_far_above_are_read_with_the_text_around_the_cursor_and_a_very_slow_model_reads_least(
    llama: ModelSet,
) -> None:
    client = Client(llama, SessionPool(llama, max_sessions=9, budget_bytes=1 << 40))
    client.worker._speed.learn = lambda *_: None  # type: ignore[method-assign]
    lines = ["class A:\n", "    x = 1\n", "    def f(self):\n", *(f"        y = {i}\n" for i in range(20))]
    sizes = [sum(map(len, lines[number:])) for number in range(len(lines) + 1)]
    options = {
        "latency_ms": 10,
        "least_prefix": sizes[8],
        "least_suffix": 1,
        "nearest_prefix": sizes[20],
        "headers": ((sizes[0], sizes[1]), (sizes[2], sizes[3])),
    }
    headers = lines[0] + lines[2]
    request = replace(at(lines, len(lines), **options), suffix="")
    for token_ms, first in ((1.0, 8), (9.0, 20)):
        client.worker._speed.token_ms = token_ms
        fitted = fit(llama, request, client.worker._pool, token_ms)
        assert fitted.is_cut
        assert fitted.request.prompt == headers + "".join(lines[first:])
    stats, prompt = client.ask_noting(request)
    assert stats.token_ids == cold(llama, request, prompt)
    client = Client(llama, SessionPool(llama, max_sessions=9, budget_bytes=1 << 40))
    # What isn't in the prompt, stands behind the cut or makes no sense is left out.
    strange = ((sizes[0] + 5, sizes[0]), (sizes[9], sizes[10]), (3, 9), (sizes[2], sizes[3]))
    fitted = fit(llama, replace(request, tabcast=replace(request.tabcast, headers=strange)), client.worker._pool, 1.0)
    assert fitted.request.prompt == lines[2] + "".join(lines[8:])


def test_what_can_not_be_read_in_time_is_cut_and_read_later(llama: ModelSet) -> None:
    client = Client(llama, SessionPool(llama, max_sessions=9, budget_bytes=1 << 40))
    client.worker._speed.token_ms = 1.0
    client.worker._speed.learn = lambda *_: None  # type: ignore[method-assign]
    lines, options = list(LINES[:7]), {"least_prefix": 60, "least_suffix": 40}
    in_a_hurry = at(lines, 5, latency_ms=100, context=(ContextFile(path="b.py", text="x = 1\n" * 4),), **options)
    whole = len(prompt_tokens(llama, in_a_hurry).ids)
    first = client.ask(in_a_hurry)
    assert first.prompt_tokens < 90 < whole
    assert client.ask(in_a_hurry).cached_tokens > first.prompt_tokens - 3  # the same again
    client.settle()  # while nobody types, the rest is read
    again = client.ask(in_a_hurry)
    assert again.prompt_tokens == whole
    assert again.prompt_tokens - again.cached_tokens < 4
    for hurry in ({"latency_ms": 10_000, **options}, {}):  # there is time enough, and without a limit nothing is cut
        request = at(lines, 2, **hurry)
        assert client.ask(request).prompt_tokens == len(prompt_tokens(llama, request).ids)


def test_of_a_prompt_whose_suffix_alone_is_new_the_suffix_alone_is_cut(llama: ModelSet) -> None:
    client = Client(llama, SessionPool(llama, max_sessions=9, budget_bytes=1 << 40))
    client.worker._speed.token_ms = 1.0
    client.worker._speed.learn = lambda *_: None  # type: ignore[method-assign]
    lines = list(LINES[:7])
    client.worker.turn([client.job(trunk(lines))[0]])
    client.settle()
    request = at(lines, 3, latency_ms=60, least_prefix=60, least_suffix=50)
    stats = client.ask(request)
    short = len(prompt_tokens(llama, replace(request, suffix=request.suffix[:50])).ids)
    assert stats.prompt_tokens == short
    assert stats.cached_tokens > 40


def test_a_change_far_above_costs_nothing_until_it_was_read(llama: ModelSet) -> None:
    """A slow model goes on with the text as it was read; around the cursor it always sees the text as it is."""
    client = Client(llama, SessionPool(llama, max_sessions=9, budget_bytes=1 << 40))
    client.worker._speed.token_ms = 1.0
    client.worker._speed.learn = lambda *_: None  # type: ignore[method-assign]
    lines = list(LINES[:8])
    client.worker.turn([client.job(trunk(lines))[0]])
    client.settle()
    lines[1] = "changed = 1\n"
    hurry = {"latency_ms": 60, "least_prefix": len(lines[4] + lines[5]), "least_suffix": 40}
    request = at(lines, 6, **hurry)
    stats, prompt = client.ask_noting(request)
    old = [*LINES[:6]]
    assert prompt.ids == prompt_tokens(llama, replace(at([*old, *lines[6:]], 6), suffix=request.suffix[:40])).ids
    assert stats.prompt_tokens - stats.cached_tokens < 40
    assert stats.token_ids == cold(llama, request, prompt)
    client.settle()  # while nobody types, the newest text is read
    stats, prompt = client.ask_noting(request)
    assert prompt == prompt_tokens(llama, request)
    lines[4] = "near = 1\n"  # what must be read in any case is never an older text
    _, prompt = client.ask_noting(at(lines, 6, **hurry))
    assert lines[4] + lines[5] in written(llama, prompt.ids)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_text_around_the_cursor_is_read_in_any_case(llama: ModelSet, data: st.DataObject) -> None:
    pool = SessionPool(llama, max_sessions=9, budget_bytes=1 << 40)
    client, lines = Client(llama, pool), list(LINES[: data.draw(st.integers(3, 12))])
    if data.draw(st.booleans()):
        client.worker.turn([client.job(trunk(lines))[0]])
        client.settle()
        lines[data.draw(st.integers(0, len(lines) - 1))] = "changed = 1\n"
    line, num_above = data.draw(st.integers(1, len(lines))), data.draw(st.integers(1, 3))
    above = "".join(lines[max(0, line - num_above) : line])
    request = at(
        lines,
        line,
        latency_ms=data.draw(st.sampled_from([1, 40, 80, 200])),
        least_prefix=len(above),
        least_suffix=12,
        context=data.draw(st.sampled_from([(), (ContextFile(path="b.py", text="x = 1\n"),)])),
    )
    client.worker._speed.token_ms = 1.0
    client.worker._speed.learn = lambda *_: None  # type: ignore[method-assign]
    stats, prompt = client.ask_noting(request)
    assert stats.token_ids == cold(llama, request, prompt)
    assert above in (text := written(llama, prompt.ids))
    assert request.suffix[:12] in text


def written(models: ModelSet, ids: list[int]) -> str:
    return b"".join(models.index.token_bytes[token_id] for token_id in ids).decode()


def test_as_much_is_read_as_the_time_allows(llama: ModelSet) -> None:
    pool, lines = SessionPool(llama, max_sessions=9, budget_bytes=1 << 40), [f"x_{i}\n" for i in range(40)]
    lengths = []
    for latency_ms in (1, 100, 200, 300, 10_000):
        request = at(lines, 40, latency_ms=latency_ms, least_prefix=len(lines[-1]), least_suffix=10)
        fitted = fit(llama, request, pool, 1.0)
        lengths.append(len(fitted.prompt.ids))
        assert latency_ms == 1 or lengths[-1] <= latency_ms / 2
        assert fitted.is_cut is (latency_ms < 10_000)
    assert lengths == sorted(lengths)
    assert len(set(lengths)) >= 4


def test_more_text_is_read_where_that_takes_hardly_longer(llama: ModelSet) -> None:
    pool, lines = SessionPool(llama, max_sessions=9, budget_bytes=1 << 40), [f"x_{i}\n" for i in range(40)]
    for num_least, is_whole in ((36, True), (9, False)):
        least = sum(map(len, lines[-num_least:]))
        request = at(lines, 40, latency_ms=1, least_prefix=least, least_suffix=10)
        assert fit(llama, request, pool, 1.0).is_cut is not is_whole


def test_half_of_a_long_suffix_is_read_where_all_of_it_takes_too_long(llama: ModelSet) -> None:
    pool, lines = SessionPool(llama, max_sessions=9, budget_bytes=1 << 40), [f"x_{i}\n" for i in range(30)]
    request = at(lines, 2, least_prefix=len(lines[1]), least_suffix=10)
    whole, half = (len(prompt_tokens(llama, r).ids) for r in (request, replace(request, suffix=request.suffix[:70])))
    hurried = replace(request, tabcast=replace(request.tabcast, latency_ms=2 * (half + 5)))
    fitted = fit(llama, hurried, pool, 1.0)
    assert fitted.request.suffix == request.suffix[: len(fitted.request.suffix)]
    assert fitted.request.suffix.endswith("\n")
    assert 10 < len(fitted.request.suffix) <= len(request.suffix) // 2
    assert len(fitted.prompt.ids) < whole
