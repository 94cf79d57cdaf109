"""What a child asks of an engine. The real one is btworker.engine.engine:load; tests bring a scripted one."""

from collections.abc import Callable, Generator, Iterator
from typing import Protocol

from btworker.messages import EngineInfo, HelpTask, JobEvent, Loading, RunTask
from btworker.specs import WorkerSpec


class Engine(Protocol):
    """One loaded engine in one child. `open` is called once, in the main thread; `run` in as many others at the same
    time as the child has slots, and what must not happen at the same time is the engine's to order."""

    @property
    def info(self) -> EngineInfo:
        """Versions, checks and capabilities; there before `open` as well."""

    @property
    def model(self) -> str:
        """The name of the model that is loaded; empty before `open`. Jobs may change it."""

    def open(self, emit: Callable[[Loading], None]) -> None:
        """Load the default model. Raises BtworkerError when that cannot be; the child then says Unready.

        `emit` takes what is done for it, and for every model that a job asks for later; from any thread.
        """

    def run(self, task: RunTask, canceled: Callable[[], bool]) -> Iterator[JobEvent]:
        """One attempt at a job: yields events, the last one Finished. Started is the child's to send.

        Asks `canceled()` between windows and raises BtworkerError(CANCELED) when it says so. Raises BtworkerError for
        every failure that has a code; anything else becomes PROCESSING_ERROR.
        """

    def help(self, task: HelpTask, enough: Callable[[], bool]) -> Generator[None, None, bool]:
        """Windows of a recording that another child transcribes: yields now and then, returns whether nothing is left.

        Ends soon when `enough()` says so, and by itself where there is nothing to be done. Raises BtworkerError.
        """


EngineFactory = Callable[[WorkerSpec], Engine]
"""What the import string names. Cheap: imports and looks around, loads nothing yet."""
