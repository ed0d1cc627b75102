"""The policy: numbers in, numbers out; and that it lets a drafter cost no more than its allowance."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from decoding.completion.sessions import Session
from decoding.drafters.chain_selection import Candidate, choose_chains, merge
from decoding.drafters.combine import NUM_SKIPPED, Combined
from decoding.drafters.in_order import InOrder
from decoding.drafters.stopwatch import Stopwatch
from decoding.models.language_model import Cache
from decoding.models.loading.model_set import ModelSet
from decoding.models.probing import step_times
from decoding.models.probing.step_times import measure_passes
from decoding.policy.accounts import TRIAL_AFTER, Price
from decoding.policy.calibration import MAX_LANGUAGES, Reliability, checked_language
from decoding.policy.policy import VERSION, Policy, best_length
from decoding.policy.step_costs import StepCosts, interpolate
from decoding.speculation.drafting import EMPTY, Chain, Draft, DraftingCost, DraftRequest, NoDrafter, Outcome
from tests.decoding.conftest import ScriptedDrafter, decode

FLAT = [1.0] * 8
LINEAR = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
GENTLE = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7]


@pytest.mark.parametrize(
    ("acceptance", "step_ms", "limit", "token_ms", "length"),
    [
        (0.3, FLAT, 7, 0.0, 7),  # rows are free: verify all there is
        (0.3, FLAT, 3, 0.0, 3),
        (0.99, LINEAR, 7, 0.0, 0),  # a row costs a step: nothing can be gained
        (0.0, FLAT, 7, 0.0, 0),
        (0.05, GENTLE, 7, 0.0, 0),
        (0.5, GENTLE, 7, 0.0, 2),
        (0.9, GENTLE, 7, 0.0, 7),
        (0.8, FLAT, 7, 0.05, 7),
        (0.8, FLAT, 7, 0.35, 3),
        (0.8, FLAT, 7, 0.9, 0),  # the draft model is nearly as slow as the target
        (0.8, [1.0], 7, 0.0, 0),  # steps of one row: nothing can be verified
    ],
)
def test_the_best_length(acceptance: float, step_ms: list[float], limit: int, token_ms: float, length: int) -> None:
    found, rate = best_length([acceptance] * limit, step_ms, token_ms=token_ms)
    assert found == length
    assert rate >= 1 / step_ms[0]


def test_widths_in_between_are_interpolated() -> None:
    assert interpolate({1: 1.0, 2: 1.5, 4: 3.5}) == [1.0, 1.5, 2.5, 3.5]
    assert interpolate({1: 2.0}) == [2.0]


def test_costs_follow_the_machine_and_not_one_slow_step() -> None:
    assert list(StepCosts({1: 9.0, 2: 5.0, 4: 5.0}).table()) == [5.0] * 4
    assert list(StepCosts({1: 1.0, 2: 1.2, 4: 9.0, 8: 2.0}).table())[2:] == [2.0] * 6
    assert list(StepCosts({1: 1.0, 2: 1.5, 4: 2.0, 8: 50.0, 16: 80.0}).table())[7::8] == [4.0, 8.0]
    costs = StepCosts({1: 1.0, 8: 2.0})
    costs.learn(8, 500.0)
    assert costs.table()[7] < 2.2
    for _ in range(60):
        costs.learn(8, 4.0)
    assert costs.table()[7] == pytest.approx(4.0, rel=0.05)
    assert costs.table()[0] > 1.5  # what slows one width slows the others
    costs.learn(99, 1.0)
    costs.learn(3, 0.0)


def test_a_price_that_was_taken_on_a_busy_machine_does_not_outlive_it() -> None:
    policy = Policy({1: 30.0, 8: 40.0})
    policy.enrol("draft", is_per_token=True, token_ms=300.0, read_ms=2.0)
    assert not policy.is_worth_reading_ahead("draft")
    again = Policy({1: 30.0, 8: 40.0})
    again.restore(json.loads(json.dumps(policy.to_json())))
    again.enrol("draft", is_per_token=True, token_ms=8.0, read_ms=2.0)
    assert again.is_worth_reading_ahead("draft")
    busy = Policy({1: 30.0, 8: 40.0})
    busy.restore(json.loads(json.dumps(again.to_json())))
    busy.enrol("draft", is_per_token=True, token_ms=300.0, read_ms=2.0)
    assert busy.is_worth_reading_ahead("draft")


@pytest.mark.parametrize(("ahead_ms", "token_ms"), [(8.0, 2.0), (1200.0, 3.0)])
def test_a_drafted_token_never_seems_slower_than_a_pass_by_itself(
    llama: ModelSet, monkeypatch: pytest.MonkeyPatch, ahead_ms: float, token_ms: float
) -> None:
    """A draft that was timed once, while the machine did something else, would never be asked nor timed again."""
    assert llama.draft is not None
    called: list[int] = []
    inner = llama.draft.draft_ahead  # type: ignore[attr-defined]
    monkeypatch.setattr(llama.draft, "draft_ahead", lambda *args, **more: (called.append(0), inner(*args, **more))[1])

    def measured(passes: dict[int, object], _model: object) -> dict[int, float]:
        if len(passes) == 1:
            assert called  # code was loaded before
            return {1: ahead_ms}
        return {1: 3.0, 64: 9.0}

    monkeypatch.setattr(step_times, "measure_passes", measured)
    assert step_times.measure_draft_times(llama.draft) == {1: token_ms, 64: 9.0}


def test_the_best_length_goes_by_each_token() -> None:
    assert best_length([0.9, 0.9, 0.1, 0.9], GENTLE)[0] == 2
    assert best_length([0.1, 0.9, 0.9, 0.9], GENTLE)[0] == 0
    assert best_length([], GENTLE) == (0, 1.0)


def test_reliability_begins_with_the_prior_and_follows_what_is_seen() -> None:
    known = Reliability()
    before = known.beliefs(2, (), 1)[0]
    for _ in range(50):
        known.learn(2, (), 4, 4, "")
        known.learn(8, (), 0, 4, "")
    assert before < 0.5
    assert known.beliefs(2, (), 3) == [known.beliefs(2, (), 1)[0]] * 3
    assert known.beliefs(2, (), 1)[0] > 0.9
    assert known.beliefs(8, (), 1)[0] < 0.2
    assert known.beliefs(3, (), 1)[0] == pytest.approx(0.5)


def test_scores_are_calibrated_and_tokens_behind_the_refused_one_not_judged() -> None:
    known = Reliability()
    first = known.beliefs(0, (0.95, 0.55), 2)
    assert first[0] > first[1]
    for _ in range(60):
        known.learn(0, (0.55, 0.95, 0.95), 1, 3, "")  # the modest token stands and the sure one never does
    after = known.beliefs(0, (0.55, 0.95), 2)
    assert after[0] > 0.9
    assert after[1] < 0.2
    assert known.beliefs(0, (0.25,), 1) == pytest.approx([0.245])
    assert len(known.beliefs(0, (0.05,) * 50, 50)) < 5  # nobody verifies what is so improbable


def test_what_a_model_was_asked_for_is_judged_as_far_as_it_was_verified() -> None:
    """Behind an accepted token the next one is likelier, and one behind a refused token says nothing."""
    known = Reliability()
    first, later = known.asked_beliefs(2)
    for _ in range(80):
        known.learn_asked(3, 3, 3, "")  # all stood
        known.learn_asked(0, 3, 3, "")  # the first was refused, and nobody knows of the others
        known.learn_asked(0, 0, 3, "")  # it was not sure of any
    after = known.asked_beliefs(4)
    assert after[0] == pytest.approx(1 / 3, abs=0.05)
    assert after[1:] == [pytest.approx(1, abs=0.05)] * 3
    for _ in range(80):
        known.learn_asked(1, 1, 3, "")  # it was sure of the first alone
    assert known.asked_beliefs(2)[0] > max(first, 0.85)
    assert known.asked_beliefs(2)[1] < later / 2


def test_languages_are_learnt_apart_and_begin_with_what_is_known_of_all() -> None:
    known = Reliability()
    for _ in range(40):
        known.count("match 4", 0, 1, "python")
        known.count("match 4", 1, 1, "rust")
    assert (
        known.rate("match 4", 0.6, "python")
        < 0.2
        < known.rate("match 4", 0.6)
        < 0.8
        < known.rate("match 4", 0.6, "rust")
    )
    assert known.rate("match 4", 0.6, "go") == known.rate("match 4", 0.6)
    for i in range(100):
        known.count("match 4", 1, 1, f"l{i}")
    assert len(known.to_json()) <= MAX_LANGUAGES + 2
    assert checked_language("c++") == "c++"
    assert checked_language("see: my text") == ""


def test_what_was_learnt_goes_on_and_another_form_is_passed_over() -> None:
    policy = Policy({1: 1.0, 8: 1.7})
    answer = policy.open_answer()
    for _ in range(30):
        policy.record_verification(answer, "lookup", 4, 4, 0)
        policy.record_verification(answer, "draft", 0, 2, 2, scores=(0.9, 0.3))
        policy.record_draft_cost(answer, "lookup", 0.05, num_asked=7, num_drafted=7)
        policy.record_gain("lookup", 3.0, 0.0)
    answer.count(100)
    policy.end_answer(answer)
    again = Policy({1: 2.0, 8: 3.4})  # a machine that is busy when it starts
    again.restore(json.loads(json.dumps(policy.to_json())))
    assert again.beliefs(answer, "lookup", 4, (), 2) == pytest.approx(
        policy.beliefs(answer, "lookup", 4, (), 2), abs=1e-3
    )
    assert again.beliefs(answer, "draft", 0, (0.3,), 1) == pytest.approx(
        policy.beliefs(answer, "draft", 0, (0.3,), 1), abs=1e-3
    )
    assert again._accounts["lookup"].price.ms == pytest.approx(0.05)
    assert again._accounts["lookup"].gain_ms[0] == pytest.approx(2 * policy._accounts["lookup"].gain_ms[0], rel=1e-2)
    again.record_draft_cost(answer, "lookup", 5.0, num_asked=7, num_drafted=7)
    assert again._accounts["lookup"].price.ms < 0.06
    fresh = Policy({1: 1.0, 8: 1.7})
    counts = {"lookup": {"": {"match 4": [1]}, "x y": {}, "c": 4}}
    no_times: tuple[object, ...] = ("x", -1.0, math.nan, math.inf, True, None, [])
    costs: list[dict[str, object]] = [{"unit_ms": time, "gain_steps": [time, 1.0]} for time in no_times]
    broken: list[object] = [None, [], {"drafters": 3}, {"drafters": [1]}, {"drafters": {"lookup": 3}}]
    broken += [{"drafters": {"lookup": {"reliability": counts}}}, *({"drafters": {"lookup": cost}} for cost in costs)]
    broken += [{"answer_tokens": "many"}, {"answer_tokens": math.nan}]
    strange = {"": {"match 4": [9e9, 1], "text": [1, 1]}}
    broken += [{"drafters": {"lookup": {"reliability": strange}}}, {"drafters": {"lookup": {"gain_steps": [1.0]}}}]
    for kept in broken:
        fresh.restore({"version": VERSION, **kept} if isinstance(kept, dict) else kept)
    fresh.restore({**policy.to_json(), "version": VERSION + 1})
    assert fresh.beliefs(answer, "lookup", 4, (), 1) == Policy({1: 1.0}).beliefs(answer, "lookup", 4, (), 1)
    fresh.restore({"version": VERSION, "drafters": {f"drafter {i}": {} for i in range(10_000)}})
    assert len(fresh._accounts) < 50
    assert fresh._accounts["lookup"].price.ms == 0
    assert fresh._accounts["lookup"].gain_ms == Policy({1: 1.0})._of("lookup").gain_ms
    assert fresh._answer_tokens == Policy({1: 1.0})._answer_tokens


def with_draft(step_ms: dict[int, float], token_ms: float, *, read_ms: float = 0.0) -> Policy:
    policy = Policy(step_ms)
    policy.enrol("draft", is_per_token=True, token_ms=token_ms, read_ms=read_ms)
    return policy


def simulate(policy: Policy, is_right: Callable[[int], float], *, draft_ms: float = 0.0, rounds: int = 3000) -> float:
    """Milliseconds a token where steps take as long as `GENTLE` says, over those of plain decoding."""
    rng = random.Random(0)
    answer = policy.open_answer()
    name = "draft" if draft_ms else "lookup"
    took_ms = tokens = 0.0
    for i in range(rounds):
        wanted, _ = policy.ask(answer, name, 7)
        num_drafted = 0
        if wanted:
            spent_ms = 0.005 + draft_ms * wanted
            took_ms += spent_ms
            policy.record_draft_cost(answer, name, spent_ms, num_asked=wanted, num_drafted=wanted)
            match_len = 0 if draft_ms else 4
            beliefs = policy.beliefs(answer, name, match_len, (), wanted)
            num_drafted, rate = policy.best_cut(beliefs)
            policy.record_gain(name, rate, 0.0)
            if num_drafted == 0 and policy.should_retry(name, match_len):
                num_drafted = 1
        accepted = next((k for k in range(num_drafted) if rng.random() >= is_right(i)), num_drafted)
        if num_drafted:
            policy.record_verification(answer, name, 0 if draft_ms else 4, num_drafted, accepted)
        step_ms = GENTLE[num_drafted]
        policy.record_step(1 + num_drafted, step_ms)
        took_ms += step_ms
        tokens += 1 + accepted
    return took_ms / tokens


@pytest.mark.parametrize("draft_ms", [0.0, 0.1, 0.4, 2.0])
def test_a_drafter_that_is_never_right_costs_no_more_than_its_allowance(draft_ms: float) -> None:
    policy = with_draft({1: 1.0, 8: 1.7}, draft_ms or 1.0)
    assert simulate(policy, lambda _: 0.0, draft_ms=draft_ms) < 1.02


STEP_MS = 0.23
WARM_MS = 0.05  # of a proposal, a fifth of a step


def cold(_round: int, proposal: int, _rng: random.Random) -> float:
    """A young process reads its code and fills its tables; the first proposal is the slowest by far."""
    return 100.0 if proposal == 0 else 4.0 if proposal < 20 else 1.0


def with_spikes(_round: int, _proposal: int, rng: random.Random) -> float:
    """Another program takes the processor now and then, for some milliseconds."""
    return 80.0 if rng.random() < 0.08 else rng.uniform(0.8, 1.4)


def busy(number: int, _proposal: int, rng: random.Random) -> float:
    """Other programs take caches and processor for a while."""
    return rng.uniform(4.0, 12.0) if 100 <= number < 200 else 1.0


Disturbed = Callable[[int, int, random.Random], float]


def look_up(disturbed: Disturbed, is_right: Callable[[int], float], rounds: int, step_ms: float = STEP_MS) -> list[int]:
    """The numbers of the rounds in which a drafter was asked that finds a match in every other one."""
    rng, policy = random.Random(1), Policy({1: step_ms, 8: 1.7 * step_ms})
    answer = policy.open_answer()
    asked: list[int] = []
    for number in range(rounds):
        num_drafted = accepted = 0
        if policy.is_awake(answer, "lookup") and policy.ask(answer, "lookup", 7)[0]:
            num_found = 7 if rng.random() < 0.5 else 0
            ms = WARM_MS * disturbed(number, len(asked), rng)
            policy.record_draft_cost(answer, "lookup", ms, num_asked=7, num_drafted=num_found)
            asked.append(number)
            num_drafted, rate = policy.best_cut(policy.beliefs(answer, "lookup", 4, (), num_found))
            policy.record_gain("lookup", rate if num_found else 0.0, 0.0)
            if num_found and num_drafted == 0 and policy.should_retry("lookup", 4):
                num_drafted = 1
            if num_drafted:
                accepted = next((k for k in range(num_drafted) if rng.random() >= is_right(number)), num_drafted)
                policy.record_verification(answer, "lookup", 4, num_drafted, accepted)
        policy.record_step(1 + num_drafted, step_ms * GENTLE[num_drafted])
    return asked


def longest_silence(asked: list[int], end: int) -> int:
    return max(after - before for before, after in pairwise([0, *asked, end]))


@pytest.mark.parametrize("disturbed", [cold, with_spikes, busy])
def test_a_good_drafter_is_asked_again_soon_whatever_its_proposals_took(disturbed: Disturbed) -> None:
    asked = look_up(disturbed, lambda _: 0.7, 600)
    assert longest_silence(asked, 600) < 50
    assert len(asked) > 400


def test_a_good_drafter_survives_texts_of_which_it_knows_nothing() -> None:
    """Its first fifty drafts in a cold process are wrong, and all later ones are mostly right."""
    asked = look_up(cold, lambda number: 0.7 * (number > 50), 600)
    assert longest_silence(asked, 600) < 50
    assert len(asked) > 300


@pytest.mark.parametrize("disturbed", [cold, with_spikes, busy])
@pytest.mark.parametrize("num_steps", [0.2, 1.0, 4.0])
def test_a_useless_drafter_stays_within_its_allowance_whatever_its_clock_shows(
    disturbed: Disturbed, num_steps: float
) -> None:
    """At what its proposals take on a quiet machine: no drafter can help what others do."""
    asked = look_up(disturbed, lambda _: 0.0, 6000, WARM_MS / num_steps)
    assert num_steps * len(asked) < 0.02 * 6000


def test_the_price_is_what_a_warm_proposal_takes() -> None:
    price = Price()
    for ms in (9.0, 0.2, 0.21, 0.19, 0.3):
        price.learn(ms)
    assert price.ms == 0.19
    for _ in range(200):
        price.learn(0.05)
    for _ in range(3):
        price.learn(50.0)
    assert price.ms == pytest.approx(0.05, rel=0.1)
    for _ in range(200):
        price.learn(0.4)
    assert price.ms == 0.4


def test_two_in_debt_share_what_the_others_leave() -> None:
    """The allowance goes to those alone that have no credit of their own."""
    policy = Policy({1: 1.0, 8: 1.7})
    answer = policy.open_answer()
    for name in ("lookup", "suffix", "draft"):
        policy.is_awake(answer, name)
    for name in ("lookup", "suffix"):
        policy.record_verification(answer, name, 4, 7, 0, num_rows=7)
        for _ in range(30):
            policy.record_verification(answer, name, 4, 7, 0)
    before = {name: account.credit_ms for name, account in policy._accounts.items()}
    for _ in range(100):
        policy.record_step(1, 1.0)
    policy.is_awake(answer, "lookup")
    gained = {name: account.credit_ms - before[name] for name, account in policy._accounts.items()}
    assert gained == pytest.approx({"lookup": 0.5, "suffix": 0.5, "draft": 0.0}, abs=1e-6)


@pytest.mark.parametrize(("draft_ms", "most"), [(0.0, 0.45), (0.1, 0.6)])
def test_a_drafter_that_is_mostly_right_pays(draft_ms: float, most: float) -> None:
    policy = with_draft({1: 1.0, 8: 1.7}, draft_ms or 1.0)
    assert simulate(policy, lambda _: 0.9, draft_ms=draft_ms) < most


@pytest.mark.parametrize("draft_ms", [0.0, 0.1])
def test_what_was_switched_off_is_found_to_pay_again(draft_ms: float) -> None:
    policy = with_draft({1: 1.0, 8: 1.7}, draft_ms or 1.0)
    assert simulate(policy, lambda i: 0.0 if i < 2000 else 0.95, draft_ms=draft_ms, rounds=8000) < 0.6


def test_a_model_reads_a_prompt_only_if_the_answer_is_long_enough_to_make_up_for_it() -> None:
    policy = with_draft({1: 10.0, 8: 10.0}, 1.0, read_ms=0.5)
    for num_unread, num_left, pays in ((5, 1, True), (80, 50, True), (100, 2, False), (2000, 50, False)):
        answer = policy.open_answer(max_tokens=num_left)
        assert (policy.ask(answer, "draft", 7, num_unread=num_unread)[0] > 0) == pays
        assert policy.is_awake(answer, "draft") == pays  # or rests until this answer ends


def test_reading_for_nothing_is_not_done_again_soon() -> None:
    """A model that reads a prompt and is then never right earns no second prompt until the allowance has paid."""
    policy = with_draft({1: 1.0, 8: 1.0}, 0.01, read_ms=0.01)
    num_read = 0
    for _ in range(100):
        num_unread = 200
        answer = policy.open_answer(max_tokens=60)
        for _ in range(60):
            wanted, _ = policy.ask(answer, "draft", 7, num_unread=num_unread)
            if wanted:
                num_read += num_unread
                took_ms = 0.01 * (num_unread + wanted)
                policy.record_draft_cost(
                    answer, "draft", took_ms, num_asked=wanted, num_drafted=1, num_unread=num_unread
                )
                policy.record_verification(answer, "draft", 0, 1, 0)
                num_unread = 0
            policy.record_step(1, 1.0)
            answer.count(1)
        policy.end_answer(answer)
    assert num_read >= 200
    assert num_read * 0.01 < 0.015 * 100 * 60


def test_answers_in_turns_know_nothing_of_each_other() -> None:
    """One that ends leaves the other its investment, its language and who rests in it."""
    policy = with_draft({1: 1.0, 8: 1.0}, 0.01, read_ms=0.01)
    first, second = policy.open_answer("python", 60), policy.open_answer("go", 2)
    for answer in (first, second):
        assert policy.is_awake(answer, "draft")
    assert policy.ask(first, "draft", 7, num_unread=500)[0] > 0
    policy.record_draft_cost(first, "draft", 5.0, num_asked=7, num_drafted=7, num_unread=500)
    assert policy.ask(second, "draft", 7, num_unread=500)[0] == 0
    assert not policy.is_awake(second, "draft")
    for _ in range(40):
        policy.record_verification(second, "lookup", 4, 4, 0)
        policy.record_verification(first, "lookup", 4, 4, 4)
    first.count(10)
    second.count(1)
    policy.end_answer(second)
    assert policy.is_awake(first, "draft")  # what it took to read may still be earned
    assert policy.beliefs(first, "lookup", 4, (), 1)[0] > 0.9
    assert policy.beliefs(second, "lookup", 4, (), 1)[0] < 0.2
    policy.end_answer(first)
    policy.end_answer(first)
    assert policy._accounts["draft"].invested_ms == 0
    assert not policy.is_awake(policy.open_answer(), "draft")


def test_requests_in_turns_keep_their_own_accounts() -> None:
    """Two drafters of one engine's policy, as two sessions have them, whose rounds alternate."""
    policy = Policy({1: 1.0, 8: 1.1})
    right = Combined([ScriptedDrafter(lambda ids, k: [7] * k)], policy, lambda: 0.0)
    wrong = Combined([ScriptedDrafter(lambda ids, k: [8] * k)], policy, lambda: 0.0)
    right.begin(DraftRequest(prompt_ids=[1], max_tokens=40, language="python"))
    wrong.begin(DraftRequest(prompt_ids=[1], max_tokens=40, language="go"))
    for _ in range(20):
        for drafter in (right, wrong):
            draft = drafter.propose(3)
            num_accepted = len(draft.leading.token_ids) if drafter is right else 0
            drafter.observe(Outcome(emitted_ids=(7,) * (1 + num_accepted), num_accepted=num_accepted, draft=draft))
    wrong.close()
    rates = [policy.beliefs(policy.open_answer(name), "scripted", 0, (), 1)[0] for name in ("python", "go")]
    assert rates[0] > 0.8
    assert rates[1] < 0.5
    right.close()


def test_a_new_answer_asks_who_brought_nothing_in_the_last_one() -> None:
    policy = Policy({1: 1.0, 8: 1.1})
    for number in range(3):
        answer = policy.open_answer()
        asked = []
        for i in range(60):
            if policy.ask(answer, "lookup", 7)[0]:
                asked.append(i)
                policy.record_draft_cost(answer, "lookup", 0.02, num_asked=7, num_drafted=0)
                policy.record_gain("lookup", 0.0, 0.0)
            policy.record_step(1, 1.0)
        policy.end_answer(answer)
        assert asked[0] == 0
        assert number < 2 or len(asked) < 10


def test_a_kind_of_draft_that_does_not_pay_is_tried_now_and_then() -> None:
    policy = Policy({1: 1.0, 8: 7.0})
    answer = policy.open_answer()
    lengths = []
    for _ in range(5 * TRIAL_AFTER):
        length, _ = policy.best_cut(policy.beliefs(answer, "lookup", 2, (), 7))
        lengths.append(length or int(policy.should_retry("lookup", 2)))
        if lengths[-1]:
            policy.record_verification(answer, "lookup", 2, lengths[-1], 0)
    assert lengths.count(1) == 4
    assert lengths.count(0) == len(lengths) - 4


def test_what_brings_nothing_beside_the_others_is_asked_only_now_and_then() -> None:
    policy = Policy({1: 1.0, 8: 1.1})
    answer = policy.open_answer()
    num_asked = 0
    for _ in range(1000):
        wanted, _ = policy.ask(answer, "suffix", 7, best_rate=5.0)
        if wanted:
            num_asked += 1
            policy.record_draft_cost(answer, "suffix", 0.02, num_asked=wanted, num_drafted=4)
            policy.record_gain("suffix", 4.0, 5.0)
        policy.record_step(4, 1.0)
    assert 1000 / TRIAL_AFTER / 2 < num_asked < 150
    assert policy.ask(answer, "suffix", 7)[0] == 7  # alone it may be worth its time


def test_who_sleeps_sees_in_one_what_it_missed_before_it_is_asked_again() -> None:
    seen: list[tuple[int, ...]] = []

    class Watched(ScriptedDrafter):
        name = "lookup"

        def observe(self, outcome: Outcome) -> None:
            seen.append(outcome.emitted_ids)

    policy = Policy({1: 1.0, 8: 1.7})
    answer = policy.open_answer()
    drafter = Combined([Watched(lambda _, k: [])], policy)
    drafter.begin(DraftRequest(prompt_ids=[1]))
    for _ in range(30):
        policy.record_verification(answer, "lookup", 0, 100, 0)
    for i in range(5):
        policy.record_verification(answer, "lookup", 0, 7, 0)
        drafter.observe(Outcome(emitted_ids=(i,), num_accepted=0, draft=drafter.propose(7)))
    assert seen == []
    for _ in range(10_000):
        policy.record_step(1, 1.0)
    for i in range(5, 5 + NUM_SKIPPED):  # rounds that pass before its account is looked at again
        drafter.propose(7)
        if seen:
            break
        drafter.observe(Outcome(emitted_ids=(i,), num_accepted=0, draft=Draft()))
    assert seen == [tuple(range(i))]
    drafter.observe(Outcome(emitted_ids=(50, 60), num_accepted=0, draft=Draft()))
    assert seen[1:] == [(50, 60)]


def test_who_fails_at_what_it_missed_is_asked_no_more() -> None:
    class Failing(ScriptedDrafter):
        name = "lookup"

        def observe(self, outcome: Outcome) -> None:
            raise RuntimeError("a drafter that fails")

        def propose(self, budget: int) -> Draft:
            raise RuntimeError("and is not in a state to be asked")

    policy = Policy({1: 1.0, 8: 1.7})
    drafter = Combined([Failing(lambda _, k: [])], policy)
    drafter.begin(DraftRequest(prompt_ids=[1]))
    policy._of("lookup").credit_ms = -1.0
    drafter.observe(Outcome(emitted_ids=(2,), num_accepted=0, draft=drafter.propose(7)))
    policy._of("lookup").credit_ms = 9.0
    for _ in range(2 * NUM_SKIPPED):
        drafter.observe(Outcome(emitted_ids=(3,), num_accepted=0, draft=drafter.propose(7)))
    assert drafter.propose(7) == EMPTY
    drafter.close()


def test_rounds_in_which_all_sleep_pass_without_a_look_at_the_clock() -> None:
    looks = 0

    def clock() -> float:
        nonlocal looks
        looks += 1
        return looks * 0.01  # a proposal takes many steps' time

    slow, policy = ScriptedDrafter(lambda _ids, budget: [0] * budget), Policy({1: 1.0, 8: 1.5})
    answer = policy.open_answer()
    for _ in range(100):
        policy.record_verification(answer, "scripted", 0, 7, 0)
    together = Combined([slow], policy, clock)
    together.begin(DraftRequest(prompt_ids=[1], max_tokens=400))
    num_quiet = 0
    for number in range(200):
        before = looks
        draft = together.propose(4)
        together.observe(Outcome(emitted_ids=(number + 1,), num_accepted=0, draft=draft))
        num_quiet += looks == before
    assert num_quiet > 150
    together.close()
    assert slow._ids == [1, *range(1, 201)]  # and it has seen all in the end


def test_the_stopwatch_tells_the_parts_of_a_round() -> None:
    now = 0.0
    watch = Stopwatch(lambda: now)
    watch.begin()
    assert watch.gap_ms() is None
    assert watch.step_ms(watch.now_ms()) is None
    began_ms, now = watch.now_ms(), 0.002
    watch.add_drafting(began_ms)
    watch.begin_step()
    now = 0.012
    observed_ms = watch.now_ms()
    assert watch.step_ms(observed_ms) == pytest.approx(10.0)
    now = 0.013
    watch.end_round(observed_ms)
    now = 0.018
    assert watch.gap_ms() == pytest.approx(5.0)
    assert watch.take_draft_ms() == pytest.approx(3.0)
    assert watch.take_draft_ms() == 0
    watch.skip_round()
    assert watch.gap_ms() is None


def scripted(name: str, tokens: list[int], asked: list[str]) -> ScriptedDrafter:
    def propose(_ids: list[int], budget: int) -> list[int]:
        asked.append(name)
        return tokens[:budget]

    drafter = ScriptedDrafter(propose)
    drafter.name = name
    return drafter


def test_who_promises_more_tokens_a_millisecond_is_heard() -> None:
    """A look-up's draft with a match is taken without asking the model, unless the model promises more."""
    for draft_ms, expected in ((0.5, ["lookup"]), (0.001, ["lookup", "draft"])):
        asked: list[str] = []
        draft = scripted("draft", [3, 4, 5, 6, 7], asked)
        draft.cost = DraftingCost(is_per_token=True, token_ms=draft_ms)
        drafter = Combined([scripted("lookup", [1], asked), draft], Policy({1: 1.0, 8: 1.2}))
        drafter.begin(DraftRequest(prompt_ids=[1], max_tokens=40))
        proposed = drafter.propose(7)
        assert asked == expected
        assert proposed.leading.drafter == expected[-1]


def chain(name: str, *beliefs: tuple[int, float]) -> Candidate:
    return Candidate(Chain(tuple(token for token, _ in beliefs), name), tuple(belief for _, belief in beliefs))


def test_agreement_raises_belief_and_what_another_chain_contains_is_left_out() -> None:
    first, second = chain("a", (1, 0.5), (2, 0.5), (3, 0.5)), chain("b", (1, 0.6), (2, 0.2), (9, 0.5))
    merged = merge([first, second])
    assert [m.chain.drafter for m in merged] == ["a", "b"]
    assert merged[0].beliefs[0] == merged[1].beliefs[0] > 0.6
    assert merged[0].beliefs[1] > 0.5
    assert merged[0].beliefs[2] == 0.5
    assert [m.chain.drafter for m in merge([first, chain("b", (1, 0.9), (2, 0.9))])] == ["a"]
    stronger = merge([first, chain("b", (1, 0.9), (2, 0.9), (3, 0.9))])
    assert [m.chain.drafter for m in stronger] == ["b"]
    assert stronger[0].beliefs[2] > 0.9


def test_where_rows_are_cheap_the_ends_of_a_chain_give_way_to_rivals() -> None:
    def rate(_num_rows: int, emitted: float) -> float:
        return emitted

    best = chain("a", *((i, 0.5) for i in range(7)))
    rival = chain("b", (50, 0.4), (51, 0.8))
    chosen = choose_chains([best, rival], best, 7, 4, rate)
    assert [c.chain.drafter for c in chosen] == ["a", "b"]
    assert sum(len(c.token_ids) for c in chosen) + 1 <= 7
    assert choose_chains([best, rival], best, 7, 1, rate) == [best]
    best = chain("a", (1, 0.9))
    assert choose_chains([best, rival], best, 7, 4, lambda num_rows, emitted: emitted / num_rows) == [best]


def test_the_policy_never_changes_the_text(llama: ModelSet, rng: random.Random) -> None:
    prompt = [rng.randrange(8, 500) for _ in range(40)]
    plain = decode(llama, prompt, NoDrafter(), 60)
    session = Session(llama)
    for method in ("auto", "lookup", "draft", "auto"):
        assert decode(llama, prompt, session.drafter(method), 60) == plain


def test_steps_are_timed_at_loading(llama: ModelSet) -> None:
    assert llama.step_ms[1] > 0
    assert llama.step_ms[llama.target.capabilities.step_width] > 0
    assert llama.draft_step_ms[1] > 0


def test_other_work_while_steps_are_timed_slows_no_width_for_good(llama: ModelSet) -> None:
    """A busy phase of many steps' length, and a model whose steps take a millisecond by that clock."""
    now = 0.0

    def step(cache: Cache) -> Tensor:
        nonlocal now
        now += 0.05 if 0.1 < now < 0.6 else 0.001
        return torch.zeros(1, 4)

    times = measure_passes(dict.fromkeys((1, 2, 4, 8), step), llama.target, lambda: now)
    assert times == pytest.approx({1: 1.0, 2: 1.0, 4: 1.0, 8: 1.0})


def test_a_slow_model_is_timed_once(llama: ModelSet) -> None:
    """So that an engine is ready soon: its steps take so long that other work shows less in them."""
    now, counts = 0.0, {1: 0, 2: 0}

    def step(rows: int, _cache: Cache) -> Tensor:
        nonlocal now
        now += 0.2 * rows
        counts[rows] += 1
        return torch.zeros(1, 4)

    passes = {rows: partial(step, rows) for rows in counts}
    assert measure_passes(passes, llama.target, lambda: now) == pytest.approx({1: 200.0, 2: 400.0})
    assert counts == {1: 1, 2: 1}


def test_drafts_say_who_made_them() -> None:
    drafter = InOrder([ScriptedDrafter(lambda _, k: []), ScriptedDrafter(lambda _, k: [5] * k)])
    drafter.begin(DraftRequest(prompt_ids=[1]))
    assert drafter.propose(2) == Draft((Chain((5, 5), "scripted"),))
