"""The engine: the rooms in order, from checked records to explained scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sqlglot import exp
from sqlglot.expressions import Select, select

from egretscore.benefits import decide, opened_by
from egretscore.dates import as_day
from egretscore.errors import ArgumentError, RecordsError
from egretscore.explanation import Explanation, reasons
from egretscore.features import read_vectors, vectors_query, vectors_sql
from egretscore.policy import Policy
from egretscore.records import Records
from egretscore.records.parts import part_of
from egretscore.records.small_database import ask, columns_in, small_sql
from egretscore.records.store import check_words
from egretscore.scoring.bundle import Model, read_bundle
from egretscore.shipped import shipped_model
from egretscore.standing import Status, everyone_on_file, status_by_consent

if TYPE_CHECKING:
    import pandas as pd


def load_engine(folder: str | Path | None = None) -> Engine:
    """Load a trained model, checking every byte of it.

    Parameters
    ----------
    folder : path, optional
        A folder that ``egretscore train`` wrote; the shipped model when not given. The
        shipped model is trained on an invented town and says nothing about real people.

    Returns
    -------
    Engine

    Raises
    ------
    BundleError
        If a file is missing or altered, or the format is unknown.
    """
    return Engine(read_bundle(shipped_model() if folder is None else folder))


@dataclass(frozen=True)
class _People:
    """People on file as of a date, and what is known of them.

    Attributes
    ----------
    subject_ids : ndarray of str, shape (n,), ascending
    statuses : ndarray of str, shape (n,)
    vectors : ndarray of int32, shape (n_scored, n_features)
        Of those who may be scored, in the same order.
    """

    subject_ids: NDArray[np.object_]
    statuses: NDArray[np.object_]
    vectors: NDArray[np.int32]

    @property
    def scored(self) -> NDArray[np.bool_]:
        """Who may be scored, shape (n,)."""
        may: NDArray[np.bool_] = self.statuses == Status.SCORED.value
        return may

    def __getitem__(self, chosen: NDArray[np.bool_]) -> _People:
        return _People(self.subject_ids[chosen], self.statuses[chosen], self.vectors[chosen[self.scored]])


class Engine:
    """A model ready to score and explain the people of checked records.

    Safe to use from many threads at once: every call opens a connection of its own.

    Attributes
    ----------
    model : Model
    """

    def __init__(self, model: Model) -> None:
        self.model = model

    def __repr__(self) -> str:
        return f"<Engine: {self.name}>"

    @property
    def policy(self) -> Policy:
        """The policy the model was trained under; read records with it."""
        return self.model.policy

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.name

    @property
    def sha256(self) -> str:
        """The hash that identifies the model: that of its manifest."""
        return self.model.sha256

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the features, in the order of the vector."""
        return tuple(feature.name for feature in self.model.scorecard.features)

    def vectors(self, records: Records, as_of: date | str) -> pd.DataFrame:
        """Return the vectors of everyone who may be scored on a date.

        Parameters
        ----------
        records : Records
        as_of : date or str such as "2026-10-31"

        Returns
        -------
        DataFrame
            Index subject_id, ascending; one integer column for each feature.
        """
        import pandas as pd

        subject_ids, vectors = self._read_vectors(records, as_of)
        return pd.DataFrame(vectors, index=pd.Index(subject_ids, name="subject_id"), columns=list(self.feature_names))

    def score(self, records: Records, as_of: date | str, *, reasons: bool = False) -> pd.DataFrame:
        """Score everyone on file who may be scored on a date.

        Parameters
        ----------
        records : Records
        as_of : date or str such as "2026-10-31"
        reasons : bool
            Add one integer column ``reason_<feature>`` for each feature.

        Returns
        -------
        DataFrame
            subject_id (ascending), status, score (missing for who is not scored), grade.
        """
        import pandas as pd

        columns = self.score_columns(records, as_of, reasons=reasons)
        integers = {name: pd.array(values, dtype="Int64") for name, values in columns.items() if _is_masked(values)}
        return pd.DataFrame({**columns, **integers})

    def score_columns(
        self,
        records: Records,
        as_of: date | str,
        *,
        vectors: bool = False,
        reasons: bool = False,
        benefits: bool = False,
    ) -> dict[str, Any]:
        """Return the columns of :meth:`score` as arrays: whole numbers as masked arrays, texts as objects.

        Parameters
        ----------
        records : Records
        as_of : date or str such as "2026-10-31"
        vectors : bool
            Add one column for each feature, the vector.
        reasons : bool
            Add one column ``reason_<feature>`` for each feature.
        benefits : bool
            Add one column ``benefit_<id>`` of true and false for each convenience.
        """
        people = self._people(records, as_of)
        return self._columns_of(people, vectors=vectors, reasons=reasons, benefits=benefits)

    def score_columns_by_part(
        self, records: Records, as_of: date | str, parts: Sequence[int], **columns: bool
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Return some parts of everyone (see ``egretscore.records.parts``), one after the other, and their columns.

        The records are read at once, the columns of a part made when it is its turn.

        Parameters
        ----------
        records : Records
        as_of : date or str such as "2026-10-31"
        parts : numbers from 0 to 63
        columns : bool
            ``vectors``, ``reasons``, ``benefits``: as :meth:`score_columns` has them.
        """
        people = self._people(records, as_of)
        of_person = np.array([part_of(subject_id) for subject_id in people.subject_ids], dtype=np.int16)
        return ((part, self._columns_of(people[of_person == part], **columns)) for part in parts)

    def _people(self, records: Records, as_of: date | str) -> _People:
        """Return everyone on file with their status, and the vectors of those who may be scored."""
        scored_ids, vectors = self._read_vectors(records, as_of)
        status_of = records.connect().execute(self._statuses_sql, {"as_of": as_day(as_of)}).fetchnumpy()
        subject_ids, statuses = (np.asarray(status_of[name], dtype=object) for name in ("subject_id", "status"))
        people = _People(subject_ids, statuses, vectors)
        if not np.array_equal(subject_ids[people.scored], scored_ids):
            raise RecordsError("the records changed while they were being scored", remedy="Score them again.")
        return people

    def _columns_of(
        self, people: _People, *, vectors: bool = False, reasons: bool = False, benefits: bool = False
    ) -> dict[str, Any]:
        card, scored = self.model.scorecard, people.scored
        scores = card.scores(people.vectors)
        grades = np.full(len(scored), None, dtype=object)
        grades[scored] = self._grades(scores)
        columns = {
            "subject_id": people.subject_ids,
            "status": people.statuses,
            "score": _spread(scores, scored),
            "grade": grades,
        }
        if vectors:
            for name, values in zip(self.feature_names, people.vectors.T, strict=True):
                columns[name] = _spread(values, scored)
        if reasons:
            for name, points in zip(self.feature_names, card.reasons(people.vectors).T, strict=True):
                columns[f"reason_{name}"] = _spread(points, scored)
        if benefits:
            for benefit in self.policy.benefits:
                granted = np.zeros(len(scored), dtype=bool)
                granted[scored] = opened_by(benefit, scores)
                columns[f"benefit_{benefit.id}"] = granted
        return columns

    def explain(self, records: Records, subject_id: str, as_of: date | str) -> Explanation:
        """Explain one person's score on a date, to the last point.

        Parameters
        ----------
        records : Records
        subject_id : str
        as_of : date or str such as "2026-10-31"

        Returns
        -------
        Explanation
            With a status and no score when the person may not be scored.
        """
        if not subject_id or type(subject_id) is not str:
            raise ArgumentError("subject_id must be a text", value=subject_id)
        day = as_day(as_of)
        self._check_records(records)
        rows = records.rows_of(subject_id, self._columns_asked)
        known, of_person = ask(rows, self._person_sql, day)
        status = Status.NOT_CONSENTED if known is None else Status(known[-1])
        card = self.model.scorecard
        vector: tuple[int, ...] = () if of_person is None else of_person[1:]
        score = int(card.scores([vector])[0]) if vector else None
        found = reasons(card.features, vector, card.reasons([vector])[0]) if vector else ()
        return Explanation(
            subject_id=subject_id,
            status=status,
            as_of=day,
            score=score,
            grade=None if score is None else self.policy.grade_of(score).id,
            blank_score=self.policy.scale.blank,
            reasons=found,
            benefits=decide(self.policy.benefits, score),
            model_name=self.name,
            model_sha256=self.sha256,
            invented=self.model.invented or records.invented is not None,
            policy=self.policy,
            features=card.features,
            vector=vector,
        )

    def _read_vectors(self, records: Records, as_of: date | str) -> tuple[NDArray[np.object_], NDArray[np.int32]]:
        self._check_records(records)
        return read_vectors(records.connect(), self._vectors_sql, as_day(as_of))

    def _check_records(self, records: Records) -> None:
        if not isinstance(records, Records):
            raise ArgumentError(
                "these are not records", value=type(records).__name__, expected="what read_records(folder) returns"
            )
        check_words(records, self.policy, "the model")

    def _grades(self, scores: NDArray[np.int64]) -> NDArray[np.object_]:
        ascending = sorted(self.policy.grades, key=lambda grade: grade.min_score)
        position = np.searchsorted([grade.min_score for grade in ascending], scores, side="right") - 1
        return np.array([grade.id for grade in ascending], dtype=object)[position]

    @cached_property
    def _vectors_sql(self) -> str:
        return vectors_sql(self.model.scorecard.features, self.policy)

    @cached_property
    def _person_queries(self) -> tuple[Select, Select]:
        return status_by_consent(self.policy), vectors_query(self.model.scorecard.features, self.policy)

    @cached_property
    def _person_sql(self) -> tuple[str, ...]:
        return tuple(map(small_sql, self._person_queries))

    @cached_property
    def _columns_asked(self) -> frozenset[str]:
        return columns_in(*self._person_queries)

    @cached_property
    def _statuses_sql(self) -> str:
        status = exp.func("COALESCE", exp.column("status"), exp.Literal.string(Status.NOT_CONSENTED.value))
        return (
            select("everyone.subject_id", status.as_("status"))
            .from_(everyone_on_file().subquery("everyone"))
            .join(
                status_by_consent(self.policy).subquery("people"),
                on="everyone.subject_id = people.subject_id",
                join_type="left",
            )
            .order_by("everyone.subject_id")
            .sql("duckdb")
        )


def _spread(values: NDArray[np.int64], where: NDArray[np.bool_]) -> np.ma.MaskedArray[Any, Any]:
    """Return the values at their places, all other places masked."""
    spread = np.zeros(len(where), dtype=np.int64)
    spread[where] = values
    return np.ma.MaskedArray(spread, mask=~where)


def _is_masked(values: Any) -> bool:
    return isinstance(values, np.ma.MaskedArray)
