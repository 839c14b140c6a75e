"""The goals of a city, and what was reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pages.figures import City
from pages.wording import count, listed, table


@dataclass(frozen=True)
class Goal:
    """What is to be reached: how it is said, when it is, and how a figure is shown."""

    said: str
    reached: Callable[[float], bool]
    shown: str = "{}"
    digits: int = 1

    def cell(self, *figures: float) -> str:
        """Return figures, in bold those that do not reach the goal, with as many digits as it takes to see that."""
        return ", ".join(map(self._shown, figures))

    def _shown(self, figure: float) -> str:
        reached, digits = self.reached(figure), self.digits
        while not reached and self.reached(float(f"{figure:.{digits}f}")):
            digits += 1
        shown = self.shown.format(f"{figure:.{digits}f}")
        return shown if reached else f"**{shown}**"


def _at_most(limit: float) -> Callable[[float], bool]:
    return lambda figure: figure <= limit


def _at_least(limit: float) -> Callable[[float], bool]:
    return lambda figure: figure >= limit


def goals(city: City) -> str:
    """Return the table of the goals: bold is what is not reached."""
    small, middle, large = city.towns
    people = [count(town.residents) for town in city.towns]
    a_minute = Goal("about a minute", _at_most(60), "{} seconds", digits=0)
    the_query = Goal("1.5 at most", _at_most(1.5))
    same_model = Goal("15 times", _at_least(15))
    plain_model = Goal("60 times", _at_least(60), digits=0)
    a_third = Goal("1/3 at most", _at_least(3), "1/{}")  # of pandas' memory: pandas takes at least 3 times ours
    growth = Goal("10 times at most", _at_most(10), "{} times")

    def both(label: str, goal: Goal, cell: Callable[[str], str]) -> tuple[str, ...]:
        return label, goal.said, cell("score kept"), cell("score")

    def queries(way: str) -> str:
        return the_query.cell(*(town.times(way, "bare aggregation") for town in city.towns))

    def of_memory(way: str) -> str:
        return a_third.cell(*(town.times_the_memory("pandas", way) for town in (small, middle)))

    of_its_own = the_query.cell(*(town.times("score kept", "bare, kept") for town in city.towns))
    return table(
        ("", "goal", "kept records", "records as they came"),
        both(f"{people[2]} people", a_minute, lambda way: a_minute.cell(large.seconds(way))),
        both(f"times the bare query, at {listed(people)} people", the_query, queries),
        ("times the bare query of the same files", the_query.said, of_its_own, "as above"),
        both(
            f"faster than pandas with the same model, {people[1]} people",
            same_model,
            lambda way: same_model.cell(middle.times("pandas", way)),
        ),
        both(
            f"faster than pandas with the plain model, at {listed(people[:2])} people",
            plain_model,
            lambda way: plain_model.cell(*(town.times("pandas, plain", way) for town in (small, middle))),
        ),
        both(f"of pandas' memory, at {listed(people[:2])} people", a_third, of_memory),
        both(
            f"growth from {people[1]} to {people[2]} people",
            growth,
            lambda way: growth.cell(large.seconds(way) / middle.seconds(way)),
        ),
        words=3,
    )
