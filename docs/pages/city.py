"""What was measured of ``docs/city.md``: everyone, the goals, day by day, one person online, and Spark."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from days import Days
from measuring import Measured
from online import Latency

from pages.figures import City, Town, read_city, read_days, read_latencies
from pages.goals import goals
from pages.wording import count, fraction, listed, paragraph, percent, table

CORES = 2
"""Of the machine, as the head of the page says."""


def blocks(results: Path) -> dict[str, str]:
    """Return every measured block, by its mark."""
    city, days = read_city(results / "city.json"), read_days(results / "days.json")
    residents, latencies = read_latencies(results / "online.json")
    return {
        "command": _command(city),
        "everyone": _everyone(city),
        "peers": _peers(city),
        "stages": _stages(city.large),
        "times alone": _times_alone(city.large),
        "goals": goals(city),
        "what takes the time": _what_takes_the_time(city),
        "days": _days(days),
        "what changed": _what_changed(days),
        "one person": _one_person(residents, latencies),
        "threads": _threads(latencies),
        "Spark": _spark(city),
        "a register": _register(city, days),
        "passes": _passes(),
    }


# ------------------------------------------------------------------------------ everyone


EVERYONE = {
    "bare aggregation": "the bare grouping query in DuckDB, nothing checked or scored",
    "bare, kept": "the same on the files of the kept records",
    "score": "`score` on the records",
    "keep": "`keep`, once",
    "score kept": "`score` on kept records, the same bytes",
    "score on Spark": "`score` on kept records on Spark, the same bytes (Java's memory is not measured)",
    "pandas": "pandas, and the same model's own trees in LightGBM",
    "polars": "polars, the same trees in LightGBM and shap",
    "pandas, plain": "pandas, and a plain LightGBM of 400 trees of 31 leaves",
}
PEERS = {"pandas": "pandas", "polars": "polars", "pandas, plain": "the plain LightGBM"}


def _command(city: City) -> str:
    sizes = " ".join(str(town.residents) for town in city.towns)
    return f"`python benchmarks/city.py --residents {sizes} --spark`, in one run:"


def _everyone(city: City) -> str:
    towns = [f"{count(town.residents)} people, {count(town.rows)} records" for town in city.towns]

    def cells(town: Town, way: str) -> tuple[str, str]:
        if way not in town.ways:
            return "", ""
        return f"{town.seconds(way):.1f}", "" if way == "score on Spark" else f"{town.ways[way].peak_mib:,}"

    return table(
        ["", *(cell for town in towns for cell in (town, ""))],
        ["", *["seconds", "peak, MiB"] * len(towns)],
        *([label, *(cell for town in city.towns for cell in cells(town, way))] for way, label in EVERYONE.items()),
    )


def _peers(city: City) -> str:
    reckoned = [name for way, name in PEERS.items() if any("~" in stage for stage in city.middle.ways[way].stages)]
    grown = city.large.residents / city.middle.residents
    plain, ours = (fraction(city.auc[model], 3) for model in ("plain LightGBM", "ours in whole points"))
    return paragraph(f"""
        The peers make the same vectors (compared with ours), check nothing and decide no benefits. The contributions
        of {listed(reckoned)} are measured on {city.explained:,} people, and the seconds for all are in proportion.
        Each process has imported what it uses before the clock starts. pandas groups on one core; everything else,
        theirs and ours, may use both. At {count(city.large.residents)} people pandas would take
        {city.middle.ways["pandas"].peak_mib * grown / 1024:.0f} GiB, more than the machine has, and was not run. The
        shipped model has 120 small trees, which LightGBM explains fast. On people of a later date the plain one has
        an AUC of {plain}, and the shipped one of {ours} (`city.py` prints both; the town is invented).
    """)


def _stages(town: Town) -> str:
    alone, score, kept = (town.ways[way].stages for way in ("stages alone", "score", "score kept"))
    bare, bare_kept = town.seconds("bare aggregation"), town.seconds("bare, kept")
    together, together_kept = town.seconds_alone
    rows = {
        "every cell read and checked (alone: read and hashed, and nothing checked)":
            (f"{alone['read every cell']:.1f}", f"{score['read and check']:.1f}", ""),
        "the files of kept records compared with their hashes":
            (f"{alone['hash the kept']:.1f}", "", "with the next"),
        "what the query needs read, and grouped (alone: of the records, and of kept ones)":
            (f"{bare:.1f}, {bare_kept:.1f}", f"{score['group']:.1f}", f"{kept['group']:.1f}"),
        "the tables added up": [f"{of['score']:.1f}" for of in (alone, score, kept)],
        "the scores written": [f"{of['write']:.1f}" for of in (alone, score, kept)],
        "together, on the records and on kept ones":
            (f"{together:.1f}, {together_kept:.1f}",
             f"{town.seconds('score'):.1f}", f"{town.seconds('score kept'):.1f}"),
    }  # fmt: skip
    head = ("", "alone", "in `score` on the records", "in `score` on kept records")
    return table(head, *([label, *cells] for label, cells in rows.items()))


def _times_alone(town: Town) -> str:
    alone, alone_kept = town.seconds_alone
    return paragraph(f"""
        (In a run two threads add up and write, and their seconds are added here; on kept records they do so while
        the next group is read and grouped.) So on kept records a run takes
        {town.seconds("score kept") / alone_kept:.1f} times what its stages take alone. On the records as they came it
        takes {town.seconds("score") / alone:.1f} times that, mostly for the checks: that every cell has the right
        form, and which records occur twice.
    """)


def _what_takes_the_time(city: City) -> str:
    alone, _ = city.large.seconds_alone
    kept, pandas = city.small.ways["score kept"], city.middle.ways["pandas"]
    asking, adding, writing = (kept.stages[stage] for stage in ("group", "score", "write"))
    setting_up = kept.wall_seconds - asking - adding - writing
    texts = (
        f"""
        *1.5 times the bare query* on records as they came: if the checks cost nothing but reading each cell once, the
        stages alone would take {alone:.1f} seconds at {count(city.large.residents)} people,
        {alone / city.large.seconds("bare aggregation"):.1f} times the query. A small town's {kept.wall_seconds:.2f}
        seconds on kept records are {asking:.2f} of asking, {adding:.2f} of adding up, {writing:.2f} of writing 64
        files, and {setting_up:.2f} of setting up.
        """,
        f"""
        *15 times pandas*: {pandas.stages["read"] + pandas.stages["group"]:.1f} of its {pandas.wall_seconds:.1f}
        seconds are reading and grouping, which no model changes, and the bare query takes
        1/{city.middle.times("pandas", "bare aggregation"):.0f} of all its time.
        """,
        f"""
        On a small town polars takes {city.small.seconds("polars"):.2f} seconds, `score` on the records
        {city.small.seconds("score"):.2f}, and on kept ones {kept.wall_seconds:.2f}.
        """,
    )
    return "\n".join(paragraph(f"- {text}", hanging="  ") for text in texts)


# ------------------------------------------------------------------------------ day by day


GOING_ON = {
    "keep all": "`keep`, all records again",
    "score all": "`score`, everyone",
    "add": "`add`, the new ones to those that are kept",
    "score since": "`score --since`, who changed",
}


def _ways(days: Days) -> dict[str, Measured]:
    return {way.what: way for way in days.ways}


def _most_days(days: list[Days]) -> list[Days]:
    """Return those of the most days of each town, the smallest town first."""
    return sorted((of for of in days if of.days == max(other.days for other in days)), key=lambda of: of.residents)


def _days(days: list[Days]) -> str:
    towns = _most_days(days)
    heads = [
        f"{count(of.residents)} people, {of.days} days: {of.new_rows:,} of {count(of.rows)} rows "
        f"({percent(of.new_rows / of.rows, 2)}) are new"
        for of in towns
    ]

    def cells(way: Measured) -> tuple[str, str]:
        return f"{way.wall_seconds:.1f}", f"{way.peak_mib:,}"

    return table(
        ["", *(cell for head in heads for cell in (head, ""))],
        ["", *["seconds", "peak, MiB"] * len(towns)],
        *([label, *(cell for of in towns for cell in cells(_ways(of)[way]))] for way, label in GOING_ON.items()),
    )


def _what_changed(days: list[Days]) -> str:
    small, *_, large = _most_days(days)
    one = next(of for of in days if of.days == 1 and of.residents == small.residents)
    of, of_one = _ways(large), _ways(one)
    since = of["score since"]
    anew, going_on = (
        of[first].wall_seconds + of[then].wall_seconds
        for first, then in (("keep all", "score all"), ("add", "score since"))
    )
    return paragraph(f"""
        So the new records of the days are in the scores after {going_on:.0f} seconds instead of {anew:.0f}. All of
        that is gained by `add`, which rewrites the files of every part and checks only what is new. `score --since`
        reads no more than it must and gains hardly any time on this machine:
        {percent(large.people_changed / large.people)} of all people change in {large.days} such days
        ({percent(one.people_changed / one.people, 1)} in one: {of_one["score since"].wall_seconds:.1f} seconds where
        everyone takes {of_one["score all"].wall_seconds:.1f}, in a town of {count(one.residents)}), mostly by the age
        of a record, and they lie so evenly among the others that every file is read: finding them takes
        {since.stages["who changed"]:.1f} of the {since.wall_seconds:.1f} seconds, reading and grouping their records
        {since.stages["group"]:.1f}, putting their scores among the others' {since.stages["put in place"]:.1f}, partly
        at once. What it gives is the number of people who changed, and a check of one way of scoring by another.
    """)


# ------------------------------------------------------------------------------ one person


ONLINE = {
    "records in memory": "`engine.explain`, records in memory",
    "kept records": "`engine.explain`, kept records",
    "from a vector": "the score and the reasons of a vector that is there already",
    "pandas + pred_contrib": "pandas, LightGBM `predict` and `pred_contrib`, rows in memory",
}


def _milliseconds(number: float) -> str:
    return f"{number:.0f}" if number >= 20 else f"{number:.2f}" if number >= 0.1 else f"{number:.3f}"  # noqa: PLR2004 - two digits, at least


def _one_person(residents: int, latencies: Mapping[str, Latency]) -> str:
    calls, peer_calls = (latencies[way].calls for way in ("records in memory", "pandas + pred_contrib"))
    rows = ([label, *map(_milliseconds, (latencies[way].p50, latencies[way].p99))] for way, label in ONLINE.items())
    head = f"one of {count(residents)} invented residents, {calls:,} calls (pandas: {peer_calls:,}), milliseconds"
    return table((head, "p50", "p99"), *rows)


def _threads(latencies: Mapping[str, Latency]) -> str:
    memory, kept = latencies["records in memory, 4 threads"], latencies["kept records, 4 threads"]
    return paragraph(f"""
        With four threads on the two cores each call waits for its turn: p50 and p99 are {memory.p50:.1f} and
        {memory.p99:.1f} milliseconds from memory, {kept.p50:.1f} and {kept.p99:.1f} from kept records.
    """)


# ------------------------------------------------------------------------------ Spark, and a register


SPARK_BEGINS = 20
"""Seconds: the small town takes little else."""
PASSES = {1: (99, "up to 9.4 GB"), 3: (154, "`--memory 3GB`"), 5: (211, "`--memory 1500MB`")}
"""What `keep` takes in so many passes at 4.3 million people: seconds, and with what memory. No script prints this."""
REGISTER = 10_000_000_000


def _spark(city: City) -> str:
    seconds = {way: city.large.seconds(way) for way in ("score on Spark", "score kept")}
    return paragraph(f"""
        What it cost here, {count(city.large.residents)} people, {count(city.large.rows)} records kept, with reasons
        and benefits, on the two cores of one machine (`local[*]`): {seconds["score on Spark"]:.0f} seconds, of which
        some {SPARK_BEGINS} are beginning (a town of {count(city.small.residents)} takes
        {city.small.seconds("score on Spark"):.0f}), and the same bytes. DuckDB takes {seconds["score kept"]:.0f}.
    """)


def _register(city: City, days: list[Days]) -> str:
    *_, large = _most_days(days)

    def hours(seconds: float, rows: int) -> float:
        return seconds * CORES * REGISTER / rows / 3600

    def minutes(of: float, cores: int) -> str:
        return f"{math.ceil(of * 60 / cores)} minutes"

    keep = hours(city.large.seconds("keep"), city.large.rows)
    further = hours((PASSES[5][0] - PASSES[1][0]) / 4, city.large.rows)
    score = hours(city.large.seconds("score kept"), city.large.rows)
    spark = hours(city.large.seconds("score on Spark") - SPARK_BEGINS, city.large.rows)
    add, since = (hours(_ways(large)[way].wall_seconds, large.rows) for way in ("add", "score since"))
    return table(
        ("", "hours of one core", "for example"),
        ("`keep`, once, if all is checked in one pass", f"{keep:.1f}", ""),
        ("... each further pass", f"{further:.1f}",
         f"16 cores and 128 GB: 8 passes, {minutes(keep + 7 * further, 16)}"),
        ("`score`, everyone, in DuckDB", f"{score:.1f}", f"2 cores: {minutes(score, 2)}"),
        ("`score`, everyone, on Spark", f"{spark:.1f}",
         f"8 machines of 16 cores: {minutes(spark, 8 * 16)}, and what it takes to begin"),
        ("`add`, 10 million new records", f"{add:.1f}", f"16 cores: {minutes(add, 16)}"),
        ("`score --since` the day before", f"{since:.1f}", f"16 cores: {minutes(since, 16)}"),
        words=1,
    )  # fmt: skip


def _passes() -> str:
    tried = [
        f"{seconds} seconds in {passes} {'pass' if passes == 1 else 'passes'} with {memory}"
        for passes, (seconds, memory) in PASSES.items()
    ]
    return paragraph(f"Tried by hand at 4.3 million people: {listed(tried)}.")
