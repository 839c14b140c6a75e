"""What is on file: the five tables, reading them and checking them."""

from egretscore.records.checked.store import Records, SourceCount
from egretscore.records.quarantine import Problem
from egretscore.records.reading import read_records
from egretscore.records.schema import TABLES

__all__ = ["TABLES", "Problem", "Records", "SourceCount", "read_records"]
