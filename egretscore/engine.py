"""The engine: scores and explains the people of checked records with a trained model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sqlglot.expressions import Select

from egretscore.arrays import numpy_numbers
from egretscore.benefits import decide
from egretscore.dates import as_day
from egretscore.errors import ArgumentError
from egretscore.explanation import Explanation, RecordEffect, reasons
from egretscore.features.query import everyone_query, vectors_query
from egretscore.paths import as_path
from egretscore.policy import Policy
from egretscore.records import Records
from egretscore.records.checked.store import check_agrees, check_are_records
from egretscore.records.database import check_is_no_personal_number, check_subject_id
from egretscore.records.one_person.left_out import COLUMNS_NEEDED, each_left_out
from egretscore.records.one_person.lookup import PersonRows
from egretscore.records.one_person.small_database import ask, columns_in, small_sql
from egretscore.records.parts import sql_part_of
from egretscore.scored import ColumnsAsked, scored_columns
from egretscore.scoring.bundle import Model, read_bundle
from egretscore.shipped import shipped_model
from egretscore.standing import status_by_consent
from egretscore.status import Status

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


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
        If a file is missing, altered or cannot be read, the format is unknown, or the model breaks a promise.
    ArgumentError
        If ``folder`` is not a path.
    EgretError
        If the shipped model is missing.
    """
    return Engine(read_bundle(shipped_model() if folder is None else as_path(folder, "a model comes from a folder")))


class Engine:
    """A model ready to score and explain the people of checked records.

    Safe to use from many threads at once: no two threads share a connection.

    Parameters
    ----------
    model : Model

    Raises
    ------
    ArgumentError
        If it is no model.

    Attributes
    ----------
    model : Model
    """

    def __init__(self, model: Model) -> None:
        if not isinstance(model, Model):
            raise ArgumentError(
                "this is not a model", value=type(model).__name__, expected="what train or load_engine(folder) returns"
            )
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
    def query_sha256(self) -> str:
        """The hash of the query for everyone's vectors."""
        return hashlib.sha256(self._everyone_sql.encode()).hexdigest()

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

        Raises
        ------
        ArgumentError
            If ``records`` are no records, or ``as_of`` is no date.
        RecordsError
            If the records cannot be read any more, do not fit into memory, or are not for this engine's policy.
        """
        import pandas as pd

        people = self._people(records, as_of)
        scored = people.filter(people["status"].to_numpy() == Status.SCORED.value)
        vectors = {name: scored[name].to_numpy().astype(np.int32) for name in self.feature_names}
        return pd.DataFrame(vectors, index=pd.Index(_texts(scored["subject_id"]), name="subject_id"))

    def score(
        self,
        records: Records,
        as_of: date | str,
        *,
        vectors: bool = False,
        reasons: bool = False,
        benefits: bool = False,
    ) -> pd.DataFrame:
        """Score everyone on file who may be scored on a date, and give the status of everyone else.

        Parameters
        ----------
        records : Records
        as_of : date or str such as "2026-10-31"
        vectors, reasons, benefits : bool
            Which columns to add; see :meth:`score_columns`.

        Returns
        -------
        DataFrame
            subject_id (ascending), status, score and grade (missing where a person is not scored).

        Raises
        ------
        ArgumentError
            If ``records`` are no records, or ``as_of`` is no date.
        RecordsError
            If the records cannot be read any more, do not fit into memory, or are not for this engine's policy.
        """
        import pandas as pd

        columns = self.score_columns(records, as_of, vectors=vectors, reasons=reasons, benefits=benefits)
        integers = {
            name: pd.array(values, dtype="Int64")
            for name, values in columns.items()
            if isinstance(values, np.ma.MaskedArray)
        }
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

        Returns
        -------
        dict of name to array of shape (n,)
            In the order of subject_id.

        Raises
        ------
        ArgumentError
            If ``records`` are no records, or ``as_of`` is no date.
        RecordsError
            If the records cannot be read any more, do not fit into memory, or are not for this engine's policy.
        """
        asked = ColumnsAsked(vectors=vectors, reasons=reasons, benefits=benefits)
        people = self._people(records, as_of)
        columns = scored_columns(people, self.model.scorecard, self.policy, asked)
        return {**columns, **{name: _texts(columns[name]) for name in ("subject_id", "status", "grade")}}

    def people_by_part(self, records: Records, as_of: date | str, parts: Sequence[int]) -> Iterator[pa.Table]:
        """Return the people of some parts (see ``egretscore.records.parts``), one part after the other.

        Parameters
        ----------
        records : Records
        as_of : date or str such as "2026-10-31"
        parts : numbers from 0 to 63

        Returns
        -------
        iterator of Table
            subject_id, status and the vector: what :func:`egretscore.scored.scored_columns` takes.

        Raises
        ------
        ArgumentError
            If ``records`` are no records, or ``as_of`` is no date.
        RecordsError
            If the records cannot be read any more, do not fit into memory, or are not for this engine's policy.
        """
        part = sql_part_of("subject_id")
        found = self._ask(
            records, f"SELECT *, {part} AS part FROM ({self._everyone_sql}) ORDER BY part, subject_id", as_of
        )
        part_of_each, people = numpy_numbers(found["part"]), found.drop_columns("part")
        firsts, ends = (np.searchsorted(part_of_each, parts, side=side).tolist() for side in ("left", "right"))
        return (people[first:end] for first, end in zip(firsts, ends, strict=True))

    def _people(self, records: Records, as_of: date | str) -> pa.Table:
        """Return everyone on file in the order of subject_id, with status and, where scored, vector."""
        return self._ask(records, f"{self._everyone_sql} ORDER BY subject_id", as_of)

    def _ask(self, records: Records, sql: str, as_of: date | str) -> pa.Table:
        self._check_records(records)
        return records.ask(sql, as_of=as_day(as_of))

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

        Raises
        ------
        ArgumentError
            If ``records`` are no records, ``as_of`` is no date, or the id is not a text, is empty, or is shaped
            like a resident ID or a mobile number.
        RecordsError
            If the records cannot be read any more, or are not for this engine's policy.
        """
        rows, day = self._rows_of(records, subject_id, as_of)
        status, vector = self._status_and_vector(rows, day)
        card = self.model.scorecard
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

    def explain_each_record(self, records: Records, subject_id: str, as_of: date | str) -> tuple[RecordEffect, ...]:
        """Say what each record that was on file about a person on a date does to their score.

        Everything is counted again without each record in turn: of a hundred records in a quarter of a second or
        less, of more in time that grows with the square of their number.

        Parameters
        ----------
        records : Records
        subject_id : str
        as_of : date or str such as "2026-10-31"

        Returns
        -------
        tuple of RecordEffect
            One for each record, the weightiest first and those of equal weight by table and id; none when the
            person may not be scored.

        Raises
        ------
        ArgumentError
            If ``records`` are no records, ``as_of`` is no date, or the id is not a text, is empty, or is shaped
            like a resident ID or a mobile number.
        RecordsError
            If the records cannot be read any more, or are not for this engine's policy.
        """
        rows, day = self._rows_of(records, subject_id, as_of)
        _, vector = self._status_and_vector(rows, day)
        left_out = list(each_left_out(rows, day)) if vector else []
        if not left_out:
            return ()
        card = self.model.scorecard
        vectors = [vector, *(self._status_and_vector(record.others, day)[1] for record in left_out)]
        score, *scores = card.scores(vectors).tolist()
        effects = (
            RecordEffect(
                table=record.table,
                record_id=record.record_id,
                recorded_on=record.recorded_on,
                points=score - without,
                features=tuple(
                    f for f, value, other in zip(card.features, vector, others, strict=True) if value != other
                ),
            )
            for record, others, without in zip(left_out, vectors[1:], scores, strict=True)
        )
        return tuple(sorted(effects, key=lambda effect: -abs(effect.points)))

    def _rows_of(self, records: Records, subject_id: str, as_of: date | str) -> tuple[PersonRows, date]:
        check_subject_id(subject_id)
        check_is_no_personal_number(subject_id)
        day = as_day(as_of)
        self._check_records(records)
        return records.rows_of(subject_id, self._columns_asked), day

    def _status_and_vector(self, rows: PersonRows, day: date) -> tuple[Status, tuple[int, ...]]:
        """Return a person's status and vector, which is empty where they are not scored."""
        known, of_person = ask(rows, self._person_sql, day)
        return Status.NOT_CONSENTED if known is None else Status(known[-1]), () if of_person is None else of_person[1:]

    def _check_records(self, records: Records) -> None:
        check_are_records(records)
        check_agrees(records, self.policy, "the model")

    @cached_property
    def _everyone_sql(self) -> str:
        return everyone_query(self.model.scorecard.features, self.policy).sql("duckdb")

    @cached_property
    def _person_queries(self) -> tuple[Select, Select]:
        return status_by_consent(self.policy), vectors_query(self.model.scorecard.features, self.policy)

    @cached_property
    def _person_sql(self) -> tuple[str, ...]:
        return tuple(map(small_sql, self._person_queries))

    @cached_property
    def _columns_asked(self) -> frozenset[str]:
        return columns_in(*self._person_queries) | COLUMNS_NEEDED


def _texts(column: pa.ChunkedArray) -> NDArray[np.object_]:
    texts = np.empty(len(column), dtype=object)
    texts[:] = column.to_pylist()
    return texts
