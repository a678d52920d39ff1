"""The mapping behind the registry: a dictionary whose every earlier state stays."""

from hypothesis import given
from hypothesis import strategies as st

from splitgauge.experiments.layered_map import LayeredMap


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers()), max_size=70))
def test_every_state_is_that_of_a_dictionary_and_stays(changes: list[tuple[str, int]]) -> None:
    states: list[tuple[LayeredMap[int], dict[str, int]]] = [(LayeredMap(), {})]
    for key, value in changes:
        layered, plain = states[-1]
        states.append((layered.with_item(key, value), {**plain, key: value}))

    for layered, plain in states:
        assert list(layered.items()) == list(plain.items())
        assert layered == plain
        assert (len(layered), bool(layered), "z" in layered) == (len(plain), bool(plain), False)


def test_branches_do_not_see_each_other() -> None:
    trunk = LayeredMap[int]().with_item("a", 1)
    left, right = trunk.with_item("b", 2), trunk.with_item("c", 3)
    assert (dict(trunk), dict(left), dict(right)) == ({"a": 1}, {"a": 1, "b": 2}, {"a": 1, "c": 3})


def test_entries_are_shared_between_states() -> None:
    states = [LayeredMap[int]()]
    for number in range(1024):
        states.append(states[-1].with_item(str(number), number))
    layers = [layer for state in states for _, layer in state._layers]  # pyright: ignore[reportPrivateUsage] - what is shared shows nowhere else
    distinct = {id(layer): len(layer) for layer in layers}
    assert sum(distinct.values()) <= 1024 * 11
