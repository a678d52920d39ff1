"""Real data and real models: scikit-learn's bundled scanned digits, and the classifiers that read them.

Owns which images train and which are traffic, and what each model is. Everything follows from the seed, so that the
processes of the demo agree without telling each other. scikit-learn is imported on use: it is an extra.
"""

import importlib
import importlib.util
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, get_args

import numpy as np

from splitgauge.schemas.errors import ContractError

__all__ = ["MODELS", "PIXELS", "Classifier", "Digits", "Images", "ModelName", "load_digits", "require_sklearn", "train"]

ModelName = Literal["tree", "svm", "neighbours"]

MODELS: tuple[ModelName, ...] = get_args(ModelName)
"""tree: shallow, right in 3 of 4; svm: a support vector machine, right in 19 of 20; neighbours: better still."""

PIXELS = 64
"""An image is 8 x 8 grey values from 0 to 16."""

_HELD_OUT = 0.5
_TREE_DEPTH = 6
_SVM_C = 0.001


@dataclass(frozen=True, slots=True)
class Images:
    """Images, and which digit each shows."""

    pixels: list[list[float]]
    labels: list[int]


@dataclass(frozen=True, slots=True)
class Digits:
    """All images in two parts that have none in common: one trains, the other is the traffic."""

    training: Images
    traffic: Images


def load_digits(seed: int) -> Digits:
    """The bundled images, shuffled by the seed."""
    bunch = _sklearn("datasets").load_digits()
    pixels = np.asarray(bunch.data, dtype=np.float64)
    labels = np.asarray(bunch.target, dtype=np.int64)
    order = np.random.default_rng(seed).permutation(len(labels))
    cut = round(len(labels) * (1 - _HELD_OUT))
    return Digits(
        training=Images(pixels[order[:cut]].tolist(), labels[order[:cut]].tolist()),
        traffic=Images(pixels[order[cut:]].tolist(), labels[order[cut:]].tolist()),
    )


class Classifier:
    """A trained model that says which digit an image shows."""

    def __init__(self, estimator: Any) -> None:  # noqa: ANN401 - scikit-learn is not typed
        self._estimator = estimator

    def classify(self, pixels: list[float]) -> tuple[int, float]:
        """The digit, and how sure the model is, in 0..1."""
        image = np.asarray([pixels], dtype=np.float64)
        if hasattr(self._estimator, "predict_proba"):
            shares = np.asarray(self._estimator.predict_proba(image)[0], dtype=np.float64)
        else:
            scores = np.asarray(self._estimator.decision_function(image)[0], dtype=np.float64)
            shares = np.exp(scores - scores.max())
            shares /= shares.sum()
        best = int(shares.argmax())
        return int(self._estimator.classes_[best]), round(float(shares[best]), 4)


def train(model: ModelName, digits: Digits, *, seed: int) -> Classifier:
    """The model, trained on the training part."""
    if model == "tree":
        estimator = _sklearn("tree").DecisionTreeClassifier(max_depth=_TREE_DEPTH, random_state=seed % 2**32)
    elif model == "svm":
        # Linear: its answer costs as little as the tree's, so that the two differ in quality and not in speed.
        estimator = _sklearn("svm").LinearSVC(C=_SVM_C, dual=False)
    else:
        estimator = _sklearn("neighbors").KNeighborsClassifier(n_neighbors=3)
    return Classifier(estimator.fit(digits.training.pixels, digits.training.labels))


def require_sklearn() -> None:
    """Say so at once where scikit-learn is not installed; importing it takes seconds. Raises: ContractError."""
    if importlib.util.find_spec("sklearn") is None:
        raise ContractError(
            "the demo's models need scikit-learn, which is not installed",
            where="splitgauge demo",
            remedy="Install the extra: pip install 'splitgauge[demo]'",
        )


def _sklearn(part: str) -> ModuleType:
    return importlib.import_module(f"sklearn.{part}")
