"""Printing results, notes and progress: on a terminal, into a pipe, or with no one reading."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, TextIO

if TYPE_CHECKING:
    from egretscore.records.in_bulk.runs import Progress

DONE, BAD_INPUT, WRONG_USAGE, NOT_SCORED, INTERRUPTED = 0, 1, 2, 3, 130
"""The exit statuses of a command."""

_SECONDS_BETWEEN_LINES: Final = 10
_SECONDS_OF_AN_IMPORT: Final = 0.05


def say(what: str) -> None:
    """Print a note to stderr; failing to print it must not end the work."""
    if sys.stderr is not None:  # None if the parent process closed it
        try:
            print(what, file=sys.stderr, flush=True)
        except OSError:
            _print_no_more(sys.stderr)


def print_result(what: str, end: str = "\n") -> None:
    """Print a result to stdout; stop quietly if the reader closed the pipe.

    Raises
    ------
    OSError
        If it cannot be written for another reason, such as a full disk.
    """
    if sys.stdout is not None:
        try:
            _print_whole(sys.stdout, what + end)
        except BrokenPipeError:
            _print_no_more(sys.stdout)
        except OSError as error:
            _print_no_more(sys.stdout)
            error.filename = "standard output"
            raise


def _print_whole(stream: TextIO, what: str) -> None:
    raw = getattr(stream, "buffer", None)
    if not isinstance(raw, io.RawIOBase):
        print(what, end="", file=stream, flush=True)
        return
    # With PYTHONUNBUFFERED: a text stream writes as much as there is room for, and says nothing of the rest.
    rest = what.encode(stream.encoding, stream.errors or "strict")
    while rest:
        rest = rest[raw.write(rest) :]


def complain(what: object, status: int) -> int:
    """Print to stderr why a command ends with a status, and return the status."""
    say(f"egretscore: {what}")
    return status


def number_of(count: int, one: str, many: str = "") -> str:
    """Return how many there are, in words: ``1 row``, ``2,000 rows``."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def _print_no_more(stream: TextIO) -> None:
    # Otherwise Python would report it at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _on_a_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


@contextlib.contextmanager
def interrupts_noted() -> Iterator[list[int]]:
    """Give a list to which every interrupt of this process is added.

    One that comes while a library is being imported waits: an exception in the midst of its setting up may leave it
    half done, or end the process.
    """
    noted: list[int] = []
    handler = signal.getsignal(signal.SIGINT)
    # Only the main thread can handle signals, and the parent process may have set this one to be ignored.
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield noted
        return

    entered = inspect.currentframe()
    entered_by = entered and entered.f_back and entered.f_back.f_back  # past contextlib's own frame

    waiting: list[threading.Timer] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        if _is_importing(frame, entered_by):
            waiting.append(threading.Timer(_SECONDS_OF_AN_IMPORT, os.kill, (os.getpid(), number)))
            waiting[-1].start()
        else:
            handler(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        for again in waiting:
            again.cancel()
        signal.signal(signal.SIGINT, handler)


def _is_importing(frame: FrameType | None, since: FrameType | None) -> bool:
    """Return whether something is being imported in a frame, or in one that called it since another one."""
    while frame is not None and frame is not since:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _now_and_then() -> Callable[[], bool]:
    """Return a function that says whether it is time for another line."""
    said_last = time.monotonic()

    def is_time() -> bool:
        nonlocal said_last
        if time.monotonic() - said_last <= _SECONDS_BETWEEN_LINES:
            return False
        said_last = time.monotonic()
        return True

    return is_time


@contextlib.contextmanager
def _said_now_and_then(what: str) -> Iterator[threading.Event]:
    """Say in plain lines that something goes on, until it ends or the event given is set."""
    began, ended = time.monotonic(), threading.Event()

    def say_it() -> None:
        while not ended.wait(_SECONDS_BETWEEN_LINES):
            say(f"{what} … {time.monotonic() - began:,.0f} s")

    thread = threading.Thread(target=say_it, daemon=True)
    thread.start()
    try:
        yield ended
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Show on a terminal that something takes a while; say so now and then into a pipe."""
    if not _on_a_terminal():
        with _said_now_and_then(what):
            yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{what} …"):
        yield


@contextlib.contextmanager
def amount_done(what: str, total: int) -> Iterator[Any]:
    """Give a function to call with how much is done: a bar on a terminal, plain lines in a pipe."""
    if not _on_a_terminal():
        is_time = _now_and_then()

        def line(done: int) -> None:
            if is_time():
                say(f"{what}: {done:,} of {total:,}")

        yield line
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


@contextlib.contextmanager
def parts_done(what: str, one: str, many: str = "") -> Iterator[Callable[[Progress], None]]:
    """Give a function to call after each part: a bar with rate and time left on a terminal, plain lines in a pipe."""
    from egretscore.records.parts import PARTS

    began, is_time = time.monotonic(), _now_and_then()

    def said(done: Progress) -> str:
        took = time.monotonic() - began
        written = number_of(done.written, one, many)
        if done.parts == PARTS:
            return f"{written} in {took:,.1f} s"
        read = done.read - done.taken_up  # most of the work, and done before the first part is written
        of_read = done.written / max(1, done.parts - done.taken_up) * read
        left = took / read * (PARTS - done.read)
        return f"{written}, {of_read / max(took, 1e-9):,.0f} a second, {left:,.0f} s left"

    def line(done: Progress) -> None:
        if is_time() or done.parts == PARTS:
            say(f"{done.parts} of {PARTS} parts, {said(done)}")

    if not _on_a_terminal():
        with _said_now_and_then(what) as ended:

            def first_line(done: Progress) -> None:
                ended.set()
                line(done)

            yield first_line
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    with Bar(TextColumn(what), BarColumn(), TextColumn("{task.fields[said]}"), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=PARTS, said="reading the records")

        def move(done: Progress) -> None:
            bar.update(task, completed=done.parts, said=said(done))

        yield move


def never_fail_to_print() -> None:
    """Print a replacement for what a terminal's encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def can_be_printed(what: str) -> bool:
    """Return whether the encoding of the results lacks nothing of this."""
    try:
        what.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True
