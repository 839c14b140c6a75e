"""ScoreTableClassifier: a scikit-learn classifier whose log-odds are a sum of score tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from numbers import Real
from typing import Any, TypeGuard, TypeVar

import numpy as np
from joblib import effective_n_jobs
from lightgbm import Booster, Dataset
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_array, check_consistent_length, check_random_state
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, _check_y, check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from egretscore.scoring.tables import ScoreTables
from egretscore.training.boosting import Growth, Rows, Settings, boost, choose_pairs, grow_until_no_better
from egretscore.training.columns import as_numbers, columns_of, for_lightgbm, input_features
from egretscore.training.forest import compile_forests, read_forests
from egretscore.training.start import for_regression, start_of

_ROUNDS_TO_CHOOSE_PAIRS = 100
_ROUNDS_WITHOUT_HOLD_OUT = 100
_BAGS = (6, 32)
_ROWS_IN_ALL_BAGS = 56_000
_FEWEST_ROWS_TO_HOLD_OUT = 100
_SMALLEST_LEAF_OF_FEW_ROWS = 20
_TREES_AT_ONCE = 16
_NUMBER = "number"
_OF_NUMBERS = {"boolean", "decimal", "integer", "floating", "mixed-integer-float"}
_OF_TIME = {"date", "datetime", "datetime64", "time", "timedelta", "timedelta64", "period"}
_Value = TypeVar("_Value")


class ScoreTableClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """A gradient boosted classifier that is exactly a sum of one- and two-feature tables.

    Several forests are grown, each on other rows with the rest held out to say when to stop,
    and compiled into tables; the mean of tables is a table, so more forests cost nothing when
    scoring or explaining.

    Parameters
    ----------
    monotone : mapping of feature (name or position) to +1 or -1, or sequence of +1, -1, 0
        The way the log-odds of the second class must go with each feature. Here and below, a series
        of pandas is a mapping, by its index.
    categories : sequence of features (names or positions), optional
        The features without an order. In a data frame those that hold anything but numbers are
        categories without being named. A split tells one level, or missing values, from all
        others; a level never seen goes where missing values go.
    special : mapping of feature (name or position) to a list of its codes, optional
        Numbers that stand for no quantity, such as a bureau's -9 for "no record": each has a cell
        of its own, outside the order of the feature's values.
    pair_across : sequence of labels, one for each feature, or mapping of every feature to its label, optional
        Features of one label are never paired.
    max_pairs : int
        The most pairs of features that get a table of their own.
    baseline : array of shape (n_features,) or mapping of every feature to its value, optional
        The row against which reasons are given: zeros, and the most frequent level of
        categories, when not given.
    ridge : float, None, or sequence of these
        The weight of the squared coefficients of the logistic regression that a forest starts
        from (see ``training/start.py``), or None for the mean alone, from which all forests of
        under 100 rows start. Given several, the forests take them in turn, and start over where there
        are more forests than weights: no one weight suits all data. The last digits of a regression
        may differ from one processor to another.
    bags : int, optional
        How many forests the tables are the mean of. When None, 32 for up to 1,750 rows, 9 for
        6,000 and 6 for more than 8,000: the more rows, the less forests differ from one draw to the next.
        A single forest is grown again on all rows once the number of rounds is found.
    max_bins, learning_rate, max_leaves, l2, max_rounds, patience, rounds_per_stage
        How a forest is grown; see LightGBM for the first four. All forests grow side by side until the
        mean of their log losses on held-out rows has not fallen for ``patience`` rounds, or for 10 %
        of the rounds up to its minimum if that is more; all are then cut back to that minimum. This is
        checked every ``rounds_per_stage`` rounds, for the first time when each pair has had its turn.
    random_cuts : bool
        Whether the place of each split is drawn by lot, the best feature then being chosen
        (extremely randomized trees); the mean of such forests is smoother.
    min_people : int
        The fewest rows a leaf rests on, by LightGBM's count (at least 20 when there are under 100 rows);
        when ``fit`` gets ``groups``, the fewest groups (people), counted on the grown forest.
    validation_fraction : float
        The share of rows, or of groups, held out from each forest.
    n_jobs : int, optional
        How many threads grow the forests, which are all in memory at once: one when None, one for
        every core when -1. The result is the same.
    random_state : int, RandomState or None

    Attributes
    ----------
    tables_ : ScoreTables
        In log-odds of the second class.
    features_ : tuple of InputFeature
        What each feature is: its levels, codes and median.
    boosters_ : list of lightgbm.Booster
        Parsed anew from LightGBM's text with each access.
    n_rounds_ : list of int
        How many trees each booster has.
    pairs_ : list of pairs of positions
    smallest_leaf_ : int
        How many people the smallest leaf rests on; only with ``groups``.
    classes_, n_features_in_, feature_names_in_
        As scikit-learn has them.
    """

    def __init__(  # noqa: PLR0913 - an estimator's parameters are its constructor's (scikit-learn)
        self,
        *,
        monotone: Mapping[Any, int] | Sequence[int] | None = None,
        categories: Sequence[Any] | None = None,
        special: Mapping[Any, Sequence[float]] | None = None,
        pair_across: Sequence[Any] | Mapping[Any, Any] | None = None,
        max_pairs: int = 64,
        baseline: ArrayLike | Mapping[Any, Any] | None = None,
        ridge: float | Sequence[float | None] | None = (None, 20.0, 80.0, 320.0),
        bags: int | None = None,
        max_bins: int = 128,
        learning_rate: float = 0.15,
        max_leaves: int = 16,
        random_cuts: bool = True,
        l2: float = 1.0,
        max_rounds: int = 5000,
        patience: int = 30,
        rounds_per_stage: int = 10,
        min_people: int = 1,
        validation_fraction: float = 0.15,
        n_jobs: int | None = -1,
        random_state: Any = 0,
    ) -> None:
        self.monotone = monotone
        self.categories = categories
        self.special = special
        self.pair_across = pair_across
        self.max_pairs = max_pairs
        self.baseline = baseline
        self.ridge = ridge
        self.bags = bags
        self.max_bins = max_bins
        self.learning_rate = learning_rate
        self.max_leaves = max_leaves
        self.random_cuts = random_cuts
        self.l2 = l2
        self.max_rounds = max_rounds
        self.patience = patience
        self.rounds_per_stage = rounds_per_stage
        self.min_people = min_people
        self.validation_fraction = validation_fraction
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> ScoreTableClassifier:
        """Grow the forests and compile them into tables.

        Parameters
        ----------
        X : array or data frame of shape (n, n_features); missing values allowed
        y : array of shape (n,), two classes
        sample_weight : array of shape (n,), optional
            A row of weight 0 is checked, and then as if it were not there. Other weights count in the losses and
            not in the sizes of leaves: a weight of 2 is not quite the same as two rows.
            Their size matters: beside small ones, such as shares that add up to 1, ``l2`` and ``ridge`` weigh
            more. A mean of about 1 is what the defaults were chosen for.
        groups : array of shape (n,), optional
            Whose row each is. A group is never divided between the rows learnt from and
            those held out, and leaves are counted in groups.

        Returns
        -------
        ScoreTableClassifier
            Itself.

        Raises
        ------
        ValueError
            If a parameter, or what is handed in, cannot be used.
        """
        if y is None:
            raise ValueError("ScoreTableClassifier requires y to be passed, but the target y is None.")
        values, classes, weight, people = self._handed_in(X, y, sample_weight, groups)
        self.classes_, outcome = np.unique(classes, return_inverse=True)
        if len(self.classes_) != 2:  # noqa: PLR2004 - a binary classifier
            raise ValueError(f"y must have two classes. Got {len(self.classes_)} class(es) instead.")
        self.features_ = input_features(self._names(), values, self._special(), self._categories)
        baseline = self._baseline()
        columns = columns_of(self.features_)
        given = for_lightgbm(self.features_, columns, as_numbers(self.features_, values))
        unordered = [column.unordered for column in columns]
        design = for_regression(given, unordered) if any(self._ridges_for(len(given))) else np.empty((len(given), 0))
        # Whatever kind of random state was given, from here on it is one number.
        self._seed = int(check_random_state(self.random_state).randint(2**30))
        with threadpool_limits(1):  # sums of many threads differ in their last bits
            self._grow_leaves_of_enough(Rows(given, design, outcome.astype(np.float64), weight), people)
        forests = read_forests(self._models, self.n_rounds_)
        self.tables_: ScoreTables = compile_forests(forests, self.features_, columns, baseline)
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the log-odds of the second class.

        Parameters
        ----------
        X : array or data frame of shape (n, n_features)

        Returns
        -------
        array of shape (n,)
        """
        numbers = self.numbers(X)
        return self.tables_.totals(numbers)

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the chance of each class.

        Parameters
        ----------
        X : array or data frame of shape (n, n_features)

        Returns
        -------
        array of shape (n, 2)
        """
        second = 1.0 / (1.0 + np.exp(-self.decision_function(X)))
        return np.column_stack([1.0 - second, second])

    def predict_log_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the natural logarithm of the chance of each class.

        Parameters
        ----------
        X : array or data frame of shape (n, n_features)

        Returns
        -------
        array of shape (n, 2)
        """
        log_odds = self.decision_function(X)
        return -np.logaddexp(0.0, np.column_stack([log_odds, -log_odds]))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the likelier class of each row.

        Parameters
        ----------
        X : array or data frame of shape (n, n_features)

        Returns
        -------
        array of shape (n,)
        """
        second = self.decision_function(X) > 0
        likelier: NDArray[Any] = self.classes_[second.astype(int)]
        return likelier

    def explain(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return what each feature adds to the log-odds of the baseline.

        Exact: ``tables_.base`` and a row of these add up to the row's log-odds.

        Parameters
        ----------
        X : array or data frame of shape (n, n_features)

        Returns
        -------
        array of shape (n, n_features)
        """
        numbers = self.numbers(X)
        return self.tables_.reasons(numbers)

    def numbers(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return rows as ``tables_`` takes them: levels numbered, unseen ones missing.

        Parameters
        ----------
        X : array or data frame of shape (n, n_features)

        Returns
        -------
        array of shape (n, n_features)

        Raises
        ------
        ValueError
            If the rows are not of the features that ``fit`` was given, here and wherever rows are taken.
        """
        values, _ = self._read(X)
        return as_numbers(self.features_, values)

    @property
    def boosters_(self) -> list[Booster]:
        """The forests, parsed anew from LightGBM's text with each access."""
        check_is_fitted(self, "_models")
        return [Booster(model_str=model) for model in self._models]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.input_tags.allow_nan = True
        return tags

    # --------------------------------------------------------------------------- growing

    def _grow_leaves_of_enough(self, rows: Rows, people: NDArray[np.intp] | None) -> None:
        """Grow the forests, and again with greater leaves while one rests on too few people."""
        count = len(rows.outcome)
        few_bags, many_bags = _BAGS
        bags = self.bags or int(np.clip(_ROWS_IN_ALL_BAGS // count, few_bags, many_bags))
        splits = [self._held_out(bag, people, rows) for bag in range(bags)]
        rows_per_person = 1 if people is None else int(np.ceil(count / (people.max() + 1)))
        smallest_leaf = self.min_people * rows_per_person
        if count < _FEWEST_ROWS_TO_HOLD_OUT:  # too few to hold any out: be the more careful
            smallest_leaf = max(smallest_leaf, _SMALLEST_LEAF_OF_FEW_ROWS)
        while True:
            self._grow(rows, splits, [self._settings(bag, count, smallest_leaf) for bag in range(bags)])
            if people is None:
                self.__dict__.pop("smallest_leaf_", None)  # of an earlier fit
                return
            self.smallest_leaf_ = min(
                _fewest_people_in_a_leaf(booster, rows.columns[learnt], people[learnt])
                for booster, (learn, _) in zip(self.boosters_, splits, strict=True)
                for learnt in [learn if bags > 1 else slice(None)]
            )
            if self.smallest_leaf_ >= self.min_people:
                return
            if smallest_leaf > count:
                raise ValueError(f"there are too few groups for leaves of {self.min_people}, the min_people asked.")
            smallest_leaf = int(np.ceil(smallest_leaf * 1.3))

    def _grow(
        self, rows: Rows, splits: Sequence[tuple[NDArray[Any], NDArray[Any]]], settings: Sequence[Settings]
    ) -> None:
        # All forests split at the same bins, so that their tables have the same cells.
        bins = rows.bins(settings[0]).construct()

        def begin(bag: int) -> tuple[Dataset, Booster | None]:
            learnt = rows[splits[bag][0]]
            data = learnt.dataset(settings[bag], bins)
            return data, start_of(learnt, data, settings[bag])

        data_of_first, start_of_first = begin(0)
        self.pairs_ = pairs = (
            choose_pairs(data_of_first, settings[0], _ROUNDS_TO_CHOOSE_PAIRS, start_of_first) if self.max_pairs else []
        )
        threads = min(len(splits), int(effective_n_jobs(self.n_jobs)))
        with ThreadPoolExecutor(threads, initializer=settings[0].quiet_this_thread) as pool:
            begun = [(data_of_first, start_of_first), *pool.map(begin, range(1, len(splits)))]
            if any(len(hold_out) for _, hold_out in splits):
                growths = [
                    Growth(data, rows.without_regression()[hold_out], pairs, own, start)
                    for (data, start), (_, hold_out), own in zip(begun, splits, settings, strict=True)
                ]
                best = grow_until_no_better(growths, pool.map, pairs, settings[0])
                rounds, self.n_rounds_ = growths[0].rounds[best], [growth.trees[best] for growth in growths]
                self._models = list(pool.map(Growth.model, growths, self.n_rounds_))
            else:
                rounds = min(self.max_rounds, _ROUNDS_WITHOUT_HOLD_OUT)
                self._take(pool.map(lambda own, of: boost(of[0], pairs, own, rounds, of[1]), settings, begun))
        if len(splits) == 1:  # grown again, on all rows
            everyone = rows.dataset(settings[0], bins)
            self._take([boost(everyone, pairs, settings[0], rounds, start_of(rows, everyone, settings[0]))])

    def _take(self, boosters: Iterable[Booster]) -> None:
        """Keep these forests as they are."""
        whole = list(boosters)
        self._models, self.n_rounds_ = [of.model_to_string() for of in whole], [of.num_trees() for of in whole]

    def _held_out(
        self, bag: int, people: NDArray[np.intp] | None, rows: Rows
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return which rows a forest learns from and which are held out from it: none when there are few."""
        draw = np.random.default_rng([self._seed, bag])
        if people is None:
            # By lot within each class, so that both sides hold as much of either.
            members = [np.flatnonzero(rows.outcome == outcome) for outcome in (0, 1)]
            chosen = [draw.permutation(own)[: round(len(own) * self.validation_fraction)] for own in members]
            hold_out = np.isin(np.arange(len(rows.outcome)), np.concatenate(chosen))
        else:
            everyone = draw.permutation(people.max() + 1)
            hold_out = np.isin(people, everyone[: int(len(everyone) * self.validation_fraction)])
        both_classes = all(len(np.unique(rows.outcome[part])) == 2 for part in (hold_out, ~hold_out))  # noqa: PLR2004
        if len(hold_out) < _FEWEST_ROWS_TO_HOLD_OUT or not both_classes:
            hold_out[:] = False
        return np.flatnonzero(~hold_out), np.flatnonzero(hold_out)

    def _ridges_for(self, count: int) -> tuple[float | None, ...]:
        """Return the ridges that the forests take in turn; few rows get none."""
        return (None,) if count < _FEWEST_ROWS_TO_HOLD_OUT else _ridges(self.ridge)

    def _settings(self, bag: int, count: int, smallest_leaf: int) -> Settings:
        ridges = self._ridges_for(count)
        return Settings(
            columns=columns_of(self.features_),
            directions=self._directions(),
            pair_across=None if self.pair_across is None else tuple(self._in_order(self.pair_across, "pair_across")),
            most_pairs=self.max_pairs,
            ridge=ridges[bag % len(ridges)],
            learning_rate=self.learning_rate,
            leaves=self.max_leaves,
            most_bins=self.max_bins,
            random_cuts=self.random_cuts,
            smallest_leaf=min(smallest_leaf, count + 1),  # LightGBM's own numbers end at 32 bits
            l2=self.l2,
            rounds_per_stage=self.rounds_per_stage,
            most_rounds=self.max_rounds,
            patience=self.patience,
            seed=self._seed + bag,
        )

    # --------------------------------------------------------------------------- what is handed in

    def _check_parameters(self) -> None:
        for name, (holds, what) in _PARAMETERS.items():
            value = getattr(self, name)
            if not holds(value):
                raise ValueError(f"{name} must {what}. Got {value!r} instead.")

    def _handed_in(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None, groups: ArrayLike | None
    ) -> tuple[list[NDArray[Any]], NDArray[Any], NDArray[np.float64], NDArray[np.intp] | None]:
        """Return the checked input: values of each feature, classes, weights, and the number of each row's group."""
        self._check_parameters()
        values, classes = self._read(X, y)
        labels = () if self.pair_across is None else self._in_order(self.pair_across, "pair_across")
        if self.pair_across is not None and len(labels) != self.n_features_in_:
            raise ValueError(
                f"pair_across must give a label for each of {self.n_features_in_} features. Got {len(labels)} instead."
            )
        check_consistent_length(classes, groups)
        weight: NDArray[np.float64] = _check_sample_weight(sample_weight, classes, dtype=np.float64)
        if (weight < 0).any():
            raise ValueError(f"sample_weight must be 0 or more. Got {weight.min()} instead.")
        counts = weight != 0
        people = None if groups is None else _numbered(np.asarray(groups)[counts])
        return [of_feature[counts] for of_feature in values], classes[counts], weight[counts], people

    def _read(self, X: Any, y: ArrayLike | None = None) -> tuple[list[NDArray[Any]], NDArray[Any]]:
        """Return the values of each feature, numbers as float64 and categories as objects, and y."""
        reset = y is not None
        if not reset:
            check_is_fitted(self)
        frame = _as_pandas(X)
        if reset:  # scikit-learn keeps names only where all are texts; numbers may be names too, and not positions
            self._labels: tuple[Any, ...] = () if frame is None else tuple(frame.columns)
        labels = np.empty(0) if y is None else _checked_target(y)
        kinds = () if frame is None else [_kind(frame.iloc[:, i]) for i in range(frame.shape[1])]
        of_frame = [i for i, kind in enumerate(kinds) if kind != _NUMBER]
        for i in of_frame:
            if kinds[i] in _OF_TIME:
                raise ValueError(
                    f"X must not hold dates or durations, but {frame.columns[i]!r} does: make them numbers."
                )
        named = () if self.categories is None else tuple(self.categories)  # an index of pandas has no truth value
        of_objects = frame is not None and any(dtype.kind == "O" for dtype in frame.dtypes)
        if not of_frame and not of_objects and not named and (reset or not self._categories):
            numbers = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=reset)
            if reset:
                self._categories: frozenset[int] = frozenset()
                check_consistent_length(numbers, labels)
            return list(np.asarray(numbers).T), labels
        if frame is None:
            import pandas as pd

            frame = pd.DataFrame(check_array(X, dtype=object, ensure_all_finite=False))
        validate_data(self, X, skip_check_array=True, reset=reset)
        if reset:
            self._categories = frozenset(of_frame) | frozenset(self._by_position(dict.fromkeys(named)))
            if len(frame) != len(labels) or not len(labels):
                raise ValueError(
                    f"X and y must have the same number of rows, 1 or more. Got {len(frame)} and {len(labels)} instead."
                )
        return [_values(frame.iloc[:, i], category=i in self._categories) for i in range(frame.shape[1])], labels

    def _special(self) -> dict[int, Sequence[float]]:
        special = self._by_position(self.special, "special")
        of_levels = [self._names()[position] for position in sorted(self._categories & set(special))]
        if of_levels:
            raise ValueError(
                f"special must not name categories, whose levels all have cells. Got {of_levels[0]!r} instead."
            )
        return special

    def _names(self) -> tuple[str, ...]:
        numbered = [f"x{number}" for number in range(self.n_features_in_)]
        return tuple(str(name) for name in getattr(self, "feature_names_in_", numbered))

    def _by_position(self, given: Mapping[Any, _Value] | None, parameter: str = "categories") -> dict[int, _Value]:
        """Return a mapping keyed by the names or positions of features, keyed by positions alone."""
        names = list(self._labels)
        # Where the labels themselves are numbers, a number is a label and no position.
        positions = range(0 if any(isinstance(name, int) for name in names) else self.n_features_in_)
        found: dict[int, Any] = {}
        for feature, value in () if given is None else given.items():
            if feature in names:
                position = names.index(feature)
            elif isinstance(feature, int | np.integer) and feature in positions:
                position = int(feature)
            else:
                raise ValueError(f"{parameter} must name features of X. Got {feature!r} instead.")
            if position in found:  # a series may have a label several times
                raise ValueError(f"{parameter} must name each feature once. Got {feature!r} again.")
            found[position] = value
        return found

    def _in_order(self, given: Any, parameter: str) -> Any:
        """Return what is given for each feature in the order of the features, which a mapping need not have."""
        if not _is_by_feature(given):
            return given
        found = self._by_position(given, parameter)
        lacking = [name for position, name in enumerate(self._names()) if position not in found]
        if lacking:
            raise ValueError(f"{parameter} must name every feature of X. It lacks {lacking[0]!r}.")
        return [found[position] for position in range(self.n_features_in_)]

    def _directions(self) -> tuple[int, ...]:
        n: int = self.n_features_in_
        given = [0] * n
        if _is_by_feature(self.monotone):
            for position, direction in self._by_position(self.monotone, "monotone").items():
                given[position] = direction
        elif self.monotone is not None:
            given = list(self.monotone)
        if len(given) != n or not all(direction in (-1, 0, 1) for direction in given):
            raise ValueError(f"monotone must give +1, -1 or 0 for each of {n} features. Got {self.monotone!r} instead.")
        ordered = [feature.name for feature, way in zip(self.features_, given, strict=True) if way and feature.levels]
        if ordered:
            raise ValueError(f"monotone must not name categories, which have no order. Got {ordered[0]!r} instead.")
        return tuple(int(direction) for direction in given)

    def _baseline(self) -> NDArray[np.float64]:
        if self.baseline is None:
            return np.array([0.0 if feature.levels is None else feature.usual for feature in self.features_])
        row = np.asarray(self._in_order(self.baseline, "baseline"), dtype=object).ravel()
        if len(row) != self.n_features_in_:
            raise ValueError(f"baseline must have shape ({self.n_features_in_},). Got {(len(row),)} instead.")
        one_row = [np.array([value], dtype=object) for value in row]
        try:
            baseline: NDArray[np.float64] = as_numbers(self.features_, one_row)[0]
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"baseline must give a number for every feature without categories: {error}.") from error
        return baseline


def _as_pandas(X: Any) -> Any:
    """Return a data frame as a pandas one, or None if it is no data frame."""
    if hasattr(X, "collect") and not hasattr(X, "to_pandas"):
        raise ValueError("X must hold its rows, and a lazy frame holds none yet: collect it.")
    if hasattr(X, "to_pandas"):
        X = X.to_pandas()
    if not (hasattr(X, "iloc") and hasattr(X, "dtypes") and hasattr(X, "columns")):
        return None
    if not X.columns.is_unique:
        twice = X.columns[X.columns.duplicated()][0]
        raise ValueError(f"X must name each column once. Got {twice!r} again.")
    return X


def _is_by_feature(given: Any) -> TypeGuard[Mapping[Any, Any]]:
    """Return whether something is given by the names or positions of features: in a mapping, or in a series."""
    return isinstance(given, Mapping) or (hasattr(given, "items") and getattr(given, "ndim", 0) == 1)


def _is_finite(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and bool(np.isfinite(float(value)))


def _is_above_0(value: Any) -> bool:
    return _is_finite(value) and bool(value > 0)


def _ridges(ridge: Any) -> tuple[float | None, ...]:
    return tuple(ridge) if isinstance(ridge, Sequence | np.ndarray) else (ridge,)


def _are_ridges(ridge: object) -> bool:
    ridges = _ridges(ridge)
    return bool(ridges) and all(weight is None or _is_above_0(weight) for weight in ridges)


def _are_codes(codes: object) -> bool:
    return isinstance(codes, Collection) and all(_is_finite(code) for code in codes)


def _are_codes_of_features(special: object) -> bool:
    return special is None or (_is_by_feature(special) and all(_are_codes(codes) for _, codes in special.items()))


def _are_several(features: object) -> bool:
    return features is None or (isinstance(features, Collection) and not isinstance(features, str))


def _is_whole_from(least: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int | np.integer) and bool(value >= least)


def _whole(least: int) -> tuple[Callable[[Any], bool], str]:
    return _is_whole_from(least), f"be a whole number, {least} or more"


_PARAMETERS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "monotone": (_are_several, "give +1 or -1 for features, by name or position, or +1, -1 or 0 for each"),
    "categories": (_are_several, "list features"),
    "special": (_are_codes_of_features, "give for each feature it names a list of codes that are finite numbers"),
    "pair_across": (lambda labels: labels is None or isinstance(labels, Sized), "give a label for each feature"),
    "max_pairs": _whole(0),
    "ridge": (_are_ridges, "be a finite number above 0, None, or several of these"),
    "bags": (lambda bags: bags is None or _is_whole_from(1)(bags), "be a whole number, 1 or more, or None"),
    "max_bins": _whole(2),
    "learning_rate": (_is_above_0, "be a finite number above 0"),
    "max_leaves": _whole(2),
    "random_cuts": (lambda by_lot: isinstance(by_lot, bool | np.bool_), "be True or False"),
    "l2": (lambda weight: _is_finite(weight) and weight >= 0, "be a finite number, 0 or more"),
    "max_rounds": _whole(1),
    "patience": _whole(1),
    "rounds_per_stage": _whole(1),
    "min_people": _whole(1),
    "validation_fraction": (lambda share: _is_above_0(share) and share < 1, "lie between 0 and 1"),
    "n_jobs": (
        lambda jobs: jobs is None or (isinstance(jobs, int | np.integer) and jobs != 0),
        "be a whole number other than 0, or None",
    ),
}
"""Of each parameter: whether a value can be its, and what it must do."""


def _kind(column: Any) -> str:
    """Return what a column of a data frame holds, as pandas calls it, or what its levels are if these are of time.

    A column of objects that are all numbers, or true and false, holds numbers: decimals of Arrow or polars, or
    numbers beside None.
    """
    from pandas.api.types import infer_dtype, is_bool_dtype, is_numeric_dtype

    if hasattr(column, "cat"):
        of_levels = str(infer_dtype(column.cat.categories, skipna=True))
        return of_levels if of_levels in _OF_TIME else "categorical"
    if is_numeric_dtype(column.dtype) or is_bool_dtype(column.dtype):
        return _NUMBER
    kind = str(infer_dtype(column, skipna=True))
    return _NUMBER if kind in _OF_NUMBERS else kind


def _values(column: Any, *, category: bool) -> NDArray[Any]:
    from pandas.api.types import infer_dtype

    if category:
        unhashable = None
        if infer_dtype(column) == "mixed":  # to look at every cell takes long
            unhashable = next((level for level in column if not isinstance(level, Hashable)), None)
        if unhashable is not None:
            raise ValueError(f"X must not hold a {type(unhashable).__name__}, but {column.name!r} does.")
        values: NDArray[Any] = column.astype(object).where(column.notna(), None).to_numpy(dtype=object)
        return values
    if np.iscomplexobj(column):
        raise ValueError(f"Complex data not supported, but {column.name!r} holds some.")  # as scikit-learn has it
    try:
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"X must hold numbers in {column.name!r}: {error}.") from error
    if np.isinf(numbers).any():
        raise ValueError(f"Input X contains infinity in {column.name!r}.")
    return np.asarray(numbers)


def _numbered(groups: NDArray[Any]) -> NDArray[np.intp]:
    """Return a number for the group of each row."""
    import pandas as pd

    if groups.ndim != 1 or pd.isna(groups).any():
        raise ValueError("groups must say of every row whose it is, in one column without missing values.")
    numbers: NDArray[np.intp] = np.unique(groups, return_inverse=True)[1]
    return numbers


def _checked_target(y: ArrayLike) -> NDArray[Any]:
    target: NDArray[Any] = _check_y(y)
    check_classification_targets(target)
    kind = type_of_target(target)
    if kind == "multiclass":
        raise ValueError(f"Only binary classification is supported. The type of the target is {kind}.")
    return target


def _fewest_people_in_a_leaf(booster: Booster, X: NDArray[np.float64], people: NDArray[np.intp]) -> int:
    """Return how many different people the smallest leaf of a forest rests on."""
    everyone = int(people.max()) + 1
    fewest = everyone
    # The leaves of all trees at once would take many times the memory of the rows themselves.
    for first in range(0, booster.num_trees(), _TREES_AT_ONCE):
        leaves = booster.predict(X, pred_leaf=True, start_iteration=first, num_iteration=_TREES_AT_ONCE, num_threads=1)
        for leaf in np.asarray(leaves).reshape(len(X), -1).T.astype(np.intp):
            in_leaf = np.zeros((int(leaf.max()) + 1, everyone), dtype=bool)
            in_leaf[leaf, people] = True
            fewest = min(fewest, int(in_leaf.sum(axis=1).min()))
    return fewest
