"""ScoreTableClassifier: a scikit-learn classifier whose log-odds are a sum of score tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from egretscore.scoring.boosting import Rows, Settings, boost, choose_pairs, rounds_until_no_better
from egretscore.scoring.forest import compile_forest
from egretscore.scoring.tables import ScoreTables

_ROUNDS_TO_CHOOSE_PAIRS = 100
_FEWEST_ROWS_TO_HOLD_OUT = 100


class ScoreTableClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """A gradient boosted classifier that is exactly a sum of one- and two-feature tables.

    Parameters
    ----------
    monotone : mapping of feature (name or position) to +1 or -1, or sequence of +1, -1, 0
        The way the log-odds of the second class must go with each feature.
    pair_across : sequence of labels, one for each feature, optional
        Features of one label are never paired.
    max_pairs : int
        The most pairs of features that get a table of their own.
    baseline : array of shape (n_features,), optional
        The vector against which reasons are given; zeros when not given.
    max_bins, learning_rate, max_leaves, l2, max_rounds, patience, rounds_per_stage
        How the forest is grown; see LightGBM for the first four. ``patience`` is the
        number of rounds without a better log loss on held-out rows after which it stops.
    min_people : int
        The fewest rows, or, when ``fit`` gets ``groups``, the fewest groups (people), that
        a leaf rests on. Checked on the grown forest.
    validation_fraction : float
        The share of rows, or of groups, held out to find the number of rounds; the final
        forest is grown on all.
    random_state : int

    Attributes
    ----------
    tables_ : ScoreTables
        In log-odds of the second class.
    booster_ : lightgbm.Booster
    pairs_ : list of pairs of positions
    n_rounds_ : int
    smallest_leaf_ : int
        How many people (or rows) the smallest leaf rests on.
    classes_, n_features_in_, feature_names_in_
        As scikit-learn has them.
    """

    def __init__(  # noqa: PLR0913 - an estimator's parameters are its constructor's (scikit-learn)
        self,
        *,
        monotone: Mapping[Any, int] | Sequence[int] | None = None,
        pair_across: Sequence[Any] | None = None,
        max_pairs: int = 10,
        baseline: ArrayLike | None = None,
        max_bins: int = 64,
        learning_rate: float = 0.1,
        max_leaves: int = 6,
        l2: float = 1.0,
        max_rounds: int = 1000,
        patience: int = 60,
        rounds_per_stage: int = 10,
        min_people: int = 20,
        validation_fraction: float = 0.2,
        random_state: int = 0,
    ) -> None:
        self.monotone = monotone
        self.pair_across = pair_across
        self.max_pairs = max_pairs
        self.baseline = baseline
        self.max_bins = max_bins
        self.learning_rate = learning_rate
        self.max_leaves = max_leaves
        self.l2 = l2
        self.max_rounds = max_rounds
        self.patience = patience
        self.rounds_per_stage = rounds_per_stage
        self.min_people = min_people
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> ScoreTableClassifier:
        """Grow the forest and compile it into tables.

        Parameters
        ----------
        X : array of shape (n, n_features); missing values allowed
        y : array of shape (n,), two classes
        sample_weight : array of shape (n,), optional
        groups : array of shape (n,), optional
            Whose row each is. A group is never divided between the rows learnt from and
            those held out, and leaves are counted in groups.
        """
        vectors, classes = validate_data(self, X, y, dtype=np.float64, ensure_all_finite="allow-nan")
        check_classification_targets(classes)
        self.classes_, outcome = np.unique(classes, return_inverse=True)
        if len(self.classes_) != 2:  # noqa: PLR2004 - a binary classifier
            raise ValueError(f"y must have two classes. Got {len(self.classes_)} class(es) instead.")
        weight = _check_sample_weight(sample_weight, vectors, dtype=np.float64)
        rows = Rows(vectors, outcome.astype(np.float64), weight)
        people = np.arange(len(vectors)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
        learn, hold_out = self._held_out(people, rows)
        rows_per_person = int(np.bincount(people).max())
        smallest_leaf = self.min_people * rows_per_person
        while True:
            self._grow(rows, learn, hold_out, self._settings(smallest_leaf))
            self.smallest_leaf_ = _fewest_people_in_a_leaf(self.booster_, vectors, people)
            if self.smallest_leaf_ >= self.min_people or smallest_leaf > len(vectors):
                break
            smallest_leaf = int(np.ceil(smallest_leaf * 1.3))
        self.tables_: ScoreTables = compile_forest(
            self.booster_.dump_model(),
            feature_names=self._names(),
            baseline=self._baseline(),
            has_missing=[bool(missing) for missing in np.isnan(vectors).any(axis=0)],
        )
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the log-odds of the second class, shape (n,)."""
        return self.tables_.totals(self._vectors(X))

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the chance of each class, shape (n, 2)."""
        second = 1.0 / (1.0 + np.exp(-self.decision_function(X)))
        return np.column_stack([1.0 - second, second])

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the likelier class of each row, shape (n,)."""
        check_is_fitted(self)
        likelier: NDArray[Any] = self.classes_[(self.decision_function(X) > 0).astype(int)]
        return likelier

    def explain(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return what each feature adds to the log-odds of the baseline, shape (n, n_features).

        Exact: ``tables_.base`` and a row of these add up to the row's log-odds.
        """
        return self.tables_.reasons(self._vectors(X))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.input_tags.allow_nan = True
        return tags

    def _grow(self, rows: Rows, learn: NDArray[np.bool_], hold_out: NDArray[np.bool_], settings: Settings) -> None:
        pairs = choose_pairs(rows[learn], settings, _ROUNDS_TO_CHOOSE_PAIRS) if self.max_pairs else []
        self.n_rounds_ = (
            rounds_until_no_better(rows[learn], rows[hold_out], pairs, settings, self.max_rounds, self.patience)
            if hold_out.any()
            else self.max_rounds
        )
        self.pairs_ = pairs
        self.booster_ = boost(rows, pairs, settings, self.n_rounds_)

    def _held_out(self, people: NDArray[np.intp], rows: Rows) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which rows to learn the number of rounds from and which to hold out: none when there are few."""
        everyone = np.unique(people)
        chosen = np.random.default_rng(self.random_state).permutation(everyone)
        hold_out = np.isin(people, chosen[: int(len(everyone) * self.validation_fraction)])
        both_classes = all(len(np.unique(rows.outcome[part])) == 2 for part in (hold_out, ~hold_out))  # noqa: PLR2004
        if len(people) < _FEWEST_ROWS_TO_HOLD_OUT or not both_classes:
            hold_out[:] = False
        return ~hold_out, hold_out

    def _settings(self, smallest_leaf: int) -> Settings:
        names = self._names()
        return Settings(
            # LightGBM refuses names with other characters, so it gets numbers in place of such names.
            feature_names=names if all(map(str.isidentifier, names)) else self._numbered(),
            directions=self._directions(),
            pair_across=None if self.pair_across is None else tuple(self.pair_across),
            most_pairs=self.max_pairs,
            learning_rate=self.learning_rate,
            leaves=self.max_leaves,
            most_bins=self.max_bins,
            smallest_leaf=smallest_leaf,
            l2=self.l2,
            rounds_per_stage=self.rounds_per_stage,
            seed=self.random_state,
        )

    def _names(self) -> tuple[str, ...]:
        return tuple(str(name) for name in getattr(self, "feature_names_in_", self._numbered()))

    def _numbered(self) -> tuple[str, ...]:
        return tuple(f"x{number}" for number in range(self.n_features_in_))

    def _directions(self) -> tuple[int, ...]:
        n: int = self.n_features_in_
        if self.monotone is None:
            return (0,) * n
        if not isinstance(self.monotone, Mapping):
            directions = tuple(int(direction) for direction in self.monotone)
        else:
            names = list(getattr(self, "feature_names_in_", range(n)))
            unknown = [feature for feature in self.monotone if feature not in names and feature not in range(n)]
            if unknown:
                raise ValueError(f"monotone must name features of X. Got {unknown!r} instead.")
            directions = tuple(int(self.monotone.get(name, self.monotone.get(i, 0))) for i, name in enumerate(names))
        if len(directions) != n or not set(directions) <= {-1, 0, 1}:
            raise ValueError(f"monotone must give +1, -1 or 0 for each of {n} features. Got {self.monotone!r} instead.")
        return directions

    def _baseline(self) -> NDArray[np.float64]:
        baseline = (
            np.zeros(self.n_features_in_) if self.baseline is None else np.asarray(self.baseline, dtype=np.float64)
        )
        if baseline.shape != (self.n_features_in_,):
            raise ValueError(f"baseline must have shape ({self.n_features_in_},). Got {baseline.shape} instead.")
        return baseline

    def _vectors(self, X: ArrayLike) -> NDArray[np.float64]:
        check_is_fitted(self)
        vectors: NDArray[np.float64] = validate_data(
            self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False
        )
        return vectors


def _fewest_people_in_a_leaf(booster: Any, X: NDArray[np.float64], people: NDArray[np.intp]) -> int:
    """Return how many different people the smallest leaf of a forest rests on."""
    leaves = np.asarray(booster.predict(X, pred_leaf=True), dtype=np.intp).reshape(len(X), -1)
    everyone = int(people.max()) + 1
    fewest = everyone
    for leaf in leaves.T:
        in_leaf = np.zeros((int(leaf.max()) + 1, everyone), dtype=bool)
        in_leaf[leaf, people] = True
        fewest = min(fewest, int(in_leaf.sum(axis=1).min()))
    return fewest
