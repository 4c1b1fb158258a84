"""Linear models as scikit-learn fits them: logistic and ridge regression of several strengths, for any features.

Shape legend: N rows, F features, K labels.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Rows:
    """Features ``[N, F]``, and what is true of each row: class numbers or numbers ``[N]``, or truth values ``[N, K]``."""

    features: Floats
    targets: NDArray[Any]


Predict = Callable[[Floats], NDArray[np.float64]]
"""From features ``[N, F]``: probabilities ``[N, K]`` of classes or labels, or numbers ``[N]``."""

Fit = Callable[[Rows, Rows], Predict]
"""From training and validation rows."""


class Models(Protocol):
    """The models a baseline tries; the one that is best on validation data answers."""

    def classifiers(self, size: int, of_residues: bool) -> Sequence[Fit]:
        """One class of ``size``."""

    def labellers(self) -> Sequence[Fit]:
        """Each label by itself."""

    def regressors(self) -> Sequence[Fit]:
        """A number."""


@dataclass(frozen=True)
class Linear:
    """Models without a hidden layer.

    ``strengths`` and, where a fit has many rows, ``strengths_of_residues`` are the inverse regularisation strengths that are
    tried on validation data. Ridge regression chooses its own by leave-one-out.
    """

    strengths: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0, 10.0)
    strengths_of_residues: tuple[float, ...] = (0.01, 0.1, 1.0)

    def classifiers(self, size: int, of_residues: bool) -> list[Fit]:
        strengths = self.strengths_of_residues if of_residues else self.strengths
        return [partial(_classifier, size=size, strength=strength) for strength in strengths]

    def labellers(self) -> list[Fit]:
        return [partial(_labeller, strength=strength) for strength in self.strengths]

    def regressors(self) -> list[Fit]:
        return [_regressor]


def _fitted(model: Any, rows: Rows) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return make_pipeline(StandardScaler(), model).fit(rows.features, rows.targets)


def _classifier(train: Rows, validation: Rows, *, size: int, strength: float) -> Predict:
    """Logistic regression; where training has one class only, that class. Classes that training lacks have 0."""
    classes = np.unique(train.targets)
    model = None if len(classes) < 2 else _fitted(LogisticRegression(C=strength, max_iter=200), train)

    def predict(features_NF: Floats) -> NDArray[np.float64]:
        chances_NK = np.zeros((len(features_NF), size))
        if len(features_NF):
            chances_NK[:, classes] = 1.0 if model is None else model.predict_proba(features_NF)
        return chances_NK

    return predict


def _labeller(train: Rows, validation: Rows, *, strength: float) -> Predict:
    """One logistic regression a label, fitted together: a network without hidden layer."""
    # Its penalty is divided by the number of rows, as the loss is: alpha is the inverse of LogisticRegression's C.
    network = MLPClassifier(
        hidden_layer_sizes=(), solver="lbfgs", alpha=1 / strength, max_iter=200, random_state=0
    )
    model = _fitted(network, train)
    return lambda features_NF: np.asarray(model.predict_proba(features_NF), dtype=np.float64)


def _regressor(train: Rows, validation: Rows) -> Predict:
    model = make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(-2, 5, 15)))
    model.fit(train.features.astype(np.float64), train.targets)
    return lambda features_NF: np.asarray(model.predict(features_NF.astype(np.float64)))
