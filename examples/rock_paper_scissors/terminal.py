"""Asks a person at the terminal, without holding up anything else."""

import asyncio
from concurrent.futures import Future
from queue import SimpleQueue

__all__ = ["Gone", "Terminal"]


class Gone(Exception):
    """The person does not answer any more."""


class Terminal:
    """Takes questions in the event loop, and asks them in the main thread.

    `input` holds its thread until Enter is pressed. In the thread of the event loop, it would stop everything else: the
    environment, the other actor, and the heartbeats that tell a remote Orchestrator that this actor is still there. A
    helper thread could call it, but Ctrl-C only ever reaches the main thread, and the helper would wait on for Enter.
    So it is the loop that gets another thread, and the main thread is free to wait.
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
        if not answer.set_running_or_notify_cancel():
            return  # nobody waits for it any more
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
