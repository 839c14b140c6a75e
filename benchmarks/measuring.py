"""What a piece of work takes in a process of its own, which has done nothing before."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

HEAD = f"{'residents':>10}{'rows':>13}  {'':18}{'wall, s':>9}{'CPU, s':>9}{'peak, MiB':>10}  of which, s"

OURS = (
    "numpy.ma",
    "pyarrow.compute",
    "sqlglot.dialects.duckdb",
    "sqlglot.generators.duckdb",
    "sqlglot.optimizer.annotate_types",
)
"""What we import of libraries only where we use it."""


@dataclass(frozen=True)
class Measured:
    """What a process took to do its work."""

    what: str
    residents: int
    rows: int
    wall_seconds: float
    cpu_seconds: float
    peak_mib: float
    stages: dict[str, float] = field(default_factory=dict)


class Stages(dict[str, float]):
    """The seconds of each stage of a run; of one marked ``~``, reckoned and not measured.

    Attributes
    ----------
    reckoned_cpu : float
        The CPU seconds of those reckoned.
    afterwards : function
        What is left to do when the run has been measured.
    """

    def __init__(self) -> None:
        super().__init__()
        self._cpu: dict[str, float] = {}
        self.reckoned_cpu = 0.0
        self.afterwards: Callable[[], None] = lambda: None

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, its seconds added up under the name of a stage."""

        def run(*arguments: Any, **options: Any) -> Any:
            start, cpu = time.perf_counter(), time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                self[stage] = self.get(stage, 0.0) + time.perf_counter() - start
                self._cpu[stage] = self._cpu.get(stage, 0.0) + time.process_time() - cpu

        return run

    def reckon(self, stage: str, times: float) -> None:
        """Add what so many times a stage that was measured would take."""
        self[f"~ {stage} the rest"] = self[stage] * times
        self.reckoned_cpu += self._cpu[stage] * times


def alone(
    what: str, work: Callable[[Any], Stages], task: Any, residents: int, rows: int, libraries: Sequence[str] = ()
) -> Measured:
    """Measure some work on a task in a fresh process, which has imported these libraries."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measure, what, work, task, residents, rows, libraries).result()


def _measure(
    what: str, work: Callable[[Any], Stages], task: Any, residents: int, rows: int, libraries: Sequence[str]
) -> Measured:
    for library in libraries:
        import_module(library)
    start, cpu = time.perf_counter(), time.process_time()
    stages = work(task)
    wall, cpu, peak = time.perf_counter() - start, time.process_time() - cpu, _peak_mib()
    stages.afterwards()
    wall += sum(seconds for stage, seconds in stages.items() if stage.startswith("~"))
    cpu += stages.reckoned_cpu
    rounded = {stage: round(seconds, 2) for stage, seconds in stages.items()}
    return Measured(what, residents, rows, round(wall, 2), round(cpu, 2), round(peak), rounded)


def _peak_mib() -> float:
    status = Path("/proc/self/status")
    if status.is_file():  # Linux's rusage begins with the peak of the process that started this one
        fields = dict(line.split(":", 1) for line in status.read_text(encoding="ascii").splitlines())
        return int(fields["VmHWM"].split()[0]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


@contextmanager
def towns(folder: Path | None) -> Iterator[Path]:
    """Give the folder that keeps invented towns, or one that is gone afterwards."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="egretscore-towns-") as scratch:
        yield Path(scratch)


def line(result: Measured) -> str:
    """Return a result as a line of the table that ``HEAD`` begins."""
    stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in result.stages.items())
    return (
        f"{result.residents:>10,}{result.rows:>13,}  {result.what:18}{result.wall_seconds:>9.1f}"
        f"{result.cpu_seconds:>9.1f}{result.peak_mib:>10,.0f}  {stages}"
    )
