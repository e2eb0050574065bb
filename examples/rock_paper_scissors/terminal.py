"""Asks a person at the terminal, without holding up anything else."""

import asyncio
from concurrent.futures import Future
from queue import SimpleQueue

__all__ = ["Gone", "Terminal"]


class Gone(Exception):
    """The person does not answer any more."""


class Terminal:
    """Takes questions in the event loop, and asks them in the main thread.

    `input` holds its thread until Enter is pressed. In the thread of the event loop that would stop all that goes on
    there meanwhile: the environment, the other actors, other trials, and the heartbeats that tell an Orchestrator
    elsewhere that we are alive. The loop could call it in a helper thread, but Ctrl-C only ever reaches the main thread,
    and the helper would wait for Enter on. So it is the loop that has another thread, and this one is free to wait.
    """

    def __init__(self) -> None:
        self._questions: SimpleQueue[tuple[str, Future[str]] | None] = SimpleQueue()
        self._gone = False

    async def ask(self, question: str) -> str:
        """Ask the person; to be awaited in the event loop.

        Raises:
            Gone: The person pressed Ctrl-C or Ctrl-D.
        """
        answer: Future[str] = Future()
        self._questions.put((question, answer))
        return await asyncio.wrap_future(answer)

    def serve(self) -> None:
        """Ask what there is to ask, in the main thread, until `close` is called."""
        while True:
            try:
                asked = self._questions.get()
                if asked is None:
                    return
                self._answer(*asked)
            except KeyboardInterrupt:
                self._gone = True  # between two questions: the next one gets no answer

    def _answer(self, question: str, answer: Future[str]) -> None:
        try:
            if self._gone:
                raise EOFError
            answer.set_result(input(question))
        except (EOFError, KeyboardInterrupt):
            self._gone = True
            print()
            answer.set_exception(Gone())

    def close(self) -> None:
        """Let `serve` return."""
        self._questions.put(None)
