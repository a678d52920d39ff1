"""Both engines of the fold, whatever the log holds, and what the compiled one recognises in an event's bytes."""

import json
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from both_engines import EagerEngine, SideBySide
from fold_stories import START
from router_traffic import DECISIONS, Traffic, broken, observation, of_ids, rewritten
from router_traffic import given as given_to
from scanned import decoded, scanned

SEEDS = st.integers(0, 2**32)


@settings(max_examples=50)
@given(SEEDS, st.sampled_from([0.02, 0.1, 0.3]), st.sampled_from([60, 300, 800]), st.sampled_from([None, 4]))
def test_both_engines_say_the_same_bytes_whatever_comes_and_whoever_goes_on(
    seed: int, odd: float, n_events: int, read: int | None
) -> None:
    side_by_side = SideBySide(DECISIONS.values, read=read)
    side_by_side.tell(Traffic(seed, odd=odd).go_on(n_events), Random(seed))


def test_much_of_these_stories_is_calm() -> None:
    before, n_events = EagerEngine.calm, 0
    for seed in range(5):
        side_by_side, values = SideBySide(DECISIONS.values), Traffic(seed, odd=0.02).go_on(800)
        side_by_side.fold(values)
        n_events += len(values)
    assert EagerEngine.calm - before > n_events / 4


@settings(max_examples=300)
@given(SEEDS)
def test_what_is_recognised_is_what_is_decoded(seed: int) -> None:
    chance = Random(seed)
    for event in Traffic(seed, odd=0.5).go_on(12):
        _expect_no_other(event)
        for _ in range(3):
            _expect_no_other(broken(rewritten(event, chance) if chance.random() < 0.3 else event, chance))


NUMBERS = st.from_regex(r"-?[0-9]{1,20}(\.[0-9]{0,20})?([eE][+-]?[0-9]{0,3})?", fullmatch=True)


@settings(max_examples=400)
@given(NUMBERS, st.sampled_from(["latency_ms", "input_tokens", "cost"]), SEEDS)
def test_a_number_is_recognised_with_all_its_digits(number: str, metric: str, seed: int) -> None:
    chance = Random(seed)
    of = given_to(of_ids(chance), f"{chance.getrandbits(128):032x}", at=START)
    event = observation("outcome", of, {"metrics": {metric: 0}})
    _expect_no_other(event.replace(b'":0}', b'":' + number.encode() + b"}"))
    _expect_no_other(event.replace(b'"epoch":1', b'"epoch":' + number.encode()))
    _expect_no_other(event.replace(b'"slot"', b'"covariates"').replace(b'":0}', b'":' + number.encode() + b"}"))


@settings(max_examples=300)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    ),
    SEEDS,
)
def test_what_is_passed_over_is_json(extra: object, seed: int) -> None:
    chance = Random(seed)
    of = given_to(of_ids(chance), f"{chance.getrandbits(128):032x}", at=START)
    event = observation(chance.choice(["assignment", "outcome"]), of, {"extra": 0})
    value = _json(extra)
    _expect_no_other(event.replace(b'"extra":0', b'"extra":' + value))
    _expect_no_other(event.replace(b'"extra":0', b'"extra":' + broken(value, chance)))


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass")


def _expect_no_other(event: bytes) -> None:
    found = scanned(event)
    assert found == scanned(event, behind=event)
    if found is not None:
        assert found == decoded(event)
