"""How the demonstration is told: sections, facts and progress in a terminal's width, on standard error where the output is
for a program."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from client.cli import layout
from client.errors import CheckFailedError


class Story:
    """A narrator with a console. `check` is what decides between success and failure."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._chapter = 0
        self.checks = 0

    def chapter(self, title: str) -> None:
        """Begin a chapter."""
        self._chapter += 1
        self._console.print()
        self._console.print(Text(f"{self._chapter}. {title}", style="bold"))

    def say(self, text: str) -> None:
        """One paragraph."""
        self._console.print(Text(text), soft_wrap=False)

    def table(self, *columns: str, rows: list[tuple[str, ...]]) -> None:
        """Facts in columns."""
        self.show(layout.columns(columns, rows))

    def show(self, *parts: RenderableType) -> None:
        """What a command would print, indented."""
        for part in parts:
            self._console.print(Padding(part, (0, 0, 0, 2)))

    def check(self, what: str, *, expected: object, actual: object) -> None:
        """A claim that must hold.

        Raises:
            CheckFailedError: it does not; the demonstration has failed.
        """
        if expected != actual:
            raise CheckFailedError(f"{what} does not hold", expected=expected, actual=actual)
        self.checks += 1
        self._console.print(Text.assemble(("  [ok] ", "green"), what))

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator["Bar"]:
        """A progress bar over `total` steps."""
        with Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
        ) as progress:
            yield Bar(progress, progress.add_task(what, total=total))


class Bar:
    """One progress bar."""

    def __init__(self, progress: Progress, task: "object") -> None:
        self._progress = progress
        self._task = task

    def advance(self, steps: int) -> None:
        """So many more are done."""
        self._progress.advance(self._task, steps)  # type: ignore[arg-type]
