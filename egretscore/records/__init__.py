"""What is on file: the five tables, reading them and checking them."""

from egretscore.records.quarantine import Problem
from egretscore.records.reading import read_records
from egretscore.records.schema import TABLES
from egretscore.records.store import Records, SourceCount

__all__ = ["TABLES", "Problem", "Records", "SourceCount", "read_records"]
