"""The figures of a city as its benchmarks wrote them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from days import Days
from measuring import Measured
from online import Latency


@dataclass(frozen=True)
class Town:
    """What every way took in one town."""

    ways: Mapping[str, Measured]

    @property
    def residents(self) -> int:
        """How many people live there."""
        return self.ways["score"].residents

    @property
    def rows(self) -> int:
        """How many records there are."""
        return self.ways["score"].rows

    def seconds(self, way: str) -> float:
        """Return what a way took."""
        return self.ways[way].wall_seconds

    def times(self, way: str, other: str) -> float:
        """Return how many times the seconds of the other a way took."""
        return self.seconds(way) / self.seconds(other)

    def times_the_memory(self, way: str, other: str) -> float:
        """Return how many times the memory of the other a way took."""
        return self.ways[way].peak_mib / self.ways[other].peak_mib

    @property
    def seconds_alone(self) -> tuple[float, float]:
        """The seconds of all stages by themselves, on the records and on kept ones."""
        stages = self.ways["stages alone"].stages
        scored = stages["score"] + stages["write"]
        return (
            stages["read every cell"] + self.seconds("bare aggregation") + scored,
            stages["hash the kept"] + self.seconds("bare, kept") + scored,
        )


@dataclass(frozen=True)
class City:
    """What ``city.py`` measured, in three towns."""

    auc: Mapping[str, float]
    explained: int
    small: Town
    middle: Town
    large: Town

    @property
    def towns(self) -> tuple[Town, Town, Town]:
        """The towns, the smallest first."""
        return self.small, self.middle, self.large


def read_city(file: Path) -> City:
    """Read what ``city.py`` wrote."""
    raw = json.loads(file.read_text(encoding="utf-8"))
    of_town: dict[int, dict[str, Measured]] = {}
    for way in raw["ways"]:
        of_town.setdefault(way["residents"], {})[way["what"]] = Measured(**way)
    small, middle, large = (Town(of_town[residents]) for residents in sorted(of_town))
    return City(raw["auc"], raw["explained"], small, middle, large)


def read_days(file: Path) -> list[Days]:
    """Read what ``days.py`` wrote."""
    found = json.loads(file.read_text(encoding="utf-8"))
    return [Days(**{**raw, "ways": [Measured(**way) for way in raw["ways"]]}) for raw in found]


def read_latencies(file: Path) -> tuple[int, dict[str, Latency]]:
    """Read what ``online.py`` wrote: how many people there are, and how long each way takes."""
    raw = json.loads(file.read_text(encoding="utf-8"))
    return raw["residents"], {latency["way"]: Latency(**latency) for latency in raw["latencies"]}
