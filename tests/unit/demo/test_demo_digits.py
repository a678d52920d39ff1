"""The images and the models."""

import importlib.util

import pytest

from splitgauge.demo.digits import PIXELS, Digits, ModelName, load_digits, require_sklearn, train
from splitgauge.schemas.errors import ContractError


@pytest.fixture(scope="module")
def digits() -> Digits:
    return load_digits(7)


def share_correct(model: ModelName, digits: Digits) -> float:
    classifier = train(model, digits, seed=7)
    images = zip(digits.traffic.pixels, digits.traffic.labels, strict=True)
    return sum(classifier.classify(pixels)[0] == label for pixels, label in images) / len(digits.traffic.labels)


def test_every_image_trains_or_is_traffic_and_none_is_both(digits: Digits) -> None:
    assert len(digits.training.labels) + len(digits.traffic.labels) == 1797
    assert all(len(pixels) == PIXELS for pixels in digits.traffic.pixels)
    trained = {tuple(pixels) for pixels in digits.training.pixels}
    assert not trained & {tuple(pixels) for pixels in digits.traffic.pixels}


def test_the_same_seed_makes_the_same_parts_and_another_seed_others(digits: Digits) -> None:
    assert load_digits(7).traffic.pixels == digits.traffic.pixels
    assert load_digits(8).traffic.pixels != digits.traffic.pixels


def test_the_challengers_are_clearly_better_than_the_shallow_tree(digits: Digits) -> None:
    tree = share_correct("tree", digits)
    assert 0.6 < tree < 0.85
    assert share_correct("svm", digits) > tree + 0.1
    assert share_correct("neighbours", digits) > tree + 0.1


@pytest.mark.parametrize("model", ["tree", "svm", "neighbours"])
def test_confidence_is_a_share(model: ModelName, digits: Digits) -> None:
    classifier = train(model, digits, seed=7)
    assert all(0 < classifier.classify(pixels)[1] <= 1 for pixels in digits.traffic.pixels[:20])


def test_without_scikit_learn_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_name: str) -> None:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", nothing)
    with pytest.raises(ContractError, match=r"splitgauge\[demo\]"):
        require_sklearn()
