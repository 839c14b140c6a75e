"""Vectors of whole numbers, read from a database of checked records."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import duckdb
import numpy as np
from numpy.typing import NDArray

from egretscore.features.declaration import Feature
from egretscore.features.query import vectors_query
from egretscore.policy import Policy


def vectors_sql(features: Sequence[Feature], policy: Policy) -> str:
    """Return the vectors' query as DuckDB reads it."""
    return vectors_query(features, policy).sql("duckdb")


def read_vectors(
    connection: duckdb.DuckDBPyConnection, sql: str, as_of: date
) -> tuple[NDArray[np.object_], NDArray[np.int32]]:
    """Read the vectors of those who may be scored on a date.

    Parameters
    ----------
    connection : to a database of checked records
    sql : str
        What :func:`vectors_sql` returned.
    as_of : date

    Returns
    -------
    subject_ids : ndarray of str, shape (n,), ascending
    vectors : ndarray of int32, shape (n, n_features)
    """
    columns = connection.execute(sql, {"as_of": as_of}).fetchnumpy()
    subject_ids = np.asarray(columns.pop("subject_id"), dtype=object)
    vectors = np.empty((len(subject_ids), len(columns)), dtype=np.int32)
    for position, values in enumerate(columns.values()):
        vectors[:, position] = values
    return subject_ids, vectors
