"""Where a forest starts: with trees of one feature each that copy a logistic regression.

Boosting approximates straight lines badly: from few rows it makes a handful of steps. So a ridge
logistic regression is fitted first, on the ranks of numbers and the levels of categories, and
LightGBM grows trees of one feature each that predict its log-odds. These trees obey the directions
even where the regression does not, and boosting continues from them as one LightGBM model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from egretscore.training.boosting import Rows, Settings
from egretscore.training.pairs import stages

_COPYING: dict[str, Any] = {
    "objective": "regression",
    "learning_rate": 1.0,
    "num_leaves": 8,
    "extra_trees": False,
    "lambda_l2": 0.0,
}
_FEWEST_ROWS_OF_A_LEVEL = 5
_ROUNDS_A_COLUMN = 4
_COLUMNS_A_ROUND = 6
_STEPS_OF_RANKS = 64


def for_regression(columns: NDArray[np.float64], unordered: Sequence[bool]) -> Any:
    """Return the input of the regression: ranks from -1 to 1, one column for each level and for missing values.

    Parameters
    ----------
    columns : ndarray of shape (n, n_columns)
    unordered : sequence of bool
        For each column whether its numbers are only names.

    Returns
    -------
    ndarray, or sparse array where levels are many, of n rows
    """
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, QuantileTransformer

    ranks = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        QuantileTransformer(n_quantiles=min(_STEPS_OF_RANKS, len(columns)), subsample=None),
        MinMaxScaler((-1, 1)),
    )
    one_of_each = OneHotEncoder(min_frequency=_FEWEST_ROWS_OF_A_LEVEL)
    names = np.array(unordered)
    both = make_column_transformer((ranks, np.flatnonzero(~names)), (one_of_each, np.flatnonzero(names)))
    return both.fit_transform(columns)


def start_of(rows: Rows, data: lgb.Dataset, settings: Settings) -> lgb.Booster | None:
    """Return trees of one feature each that copy a logistic regression of the rows, or None without a ridge.

    Parameters
    ----------
    rows : Rows
    data : lightgbm.Dataset
        The same rows, as LightGBM holds them.
    settings : Settings
    """
    if settings.ridge is None:
        return None
    from sklearn.linear_model import LogisticRegression

    regression = LogisticRegression(C=1 / settings.ridge, max_iter=1000, tol=1e-3)
    regression.fit(rows.for_regression, rows.outcome, sample_weight=rows.weight)
    log_odds = regression.decision_function(rows.for_regression)
    n_columns = rows.columns.shape[1]
    alone = stages([], settings.directions)[0]
    # Each round sees some of the columns: the result is as exact, and faster.
    copying = {**settings.for_lightgbm(alone), **_COPYING, "feature_fraction": min(1.0, _COLUMNS_A_ROUND / n_columns)}
    start = lgb.train(copying, data.set_label(log_odds), num_boost_round=_ROUNDS_A_COLUMN * n_columns)
    data.set_label(rows.outcome)
    return start
