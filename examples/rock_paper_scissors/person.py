"""The person's actor: shows the match in the terminal, and asks for moves."""

from collections.abc import Awaitable, Callable, Sequence

from rich.console import Console

import cogment
from cogment.actor import ActorSession
from rules import MOVES
from specs import data_pb2
from terminal import Gone

__all__ = ["Person"]

VERDICTS = {1: "[green]you win[/green]", 0: "a draw", -1: "[red]the computer wins[/red]"}
"""What to say about a round, by the reward for it."""


class Person:
    """Plays for a person, who is asked through ``ask``."""

    def __init__(self, ask: Callable[[str], Awaitable[str]], console: Console) -> None:
        self.rewards: list[float] = []
        """What each round brought."""
        self._ask = ask
        self._console = console
        self._shown = 0

    async def play(self, session: ActorSession) -> None:
        """Play one match.

        An actor callback like any other: observations come in and actions go out, in the person's own time. The referee
        and the opponent cannot tell who plays, and need not know.
        """
        session.start()
        async for event in session.all_events():
            # The reward for a round comes before the observation that shows the round.
            self.rewards += [reward.value for reward in event.rewards]
            if event.observation:
                rounds = event.observation.observation.rounds
                self._show(rounds)
                if event.type is cogment.EventType.ACTIVE:
                    await self._act(session, len(rounds) + 1)

    def _show(self, rounds: Sequence[data_pb2.Round]) -> None:
        if len(rounds) == self._shown:
            return
        self._shown = len(rounds)
        names = {move: name for name, move in MOVES.items()}
        mine, theirs = names[rounds[-1].mine], names[rounds[-1].theirs]
        verdict, total = VERDICTS[round(self.rewards[-1])], sum(self.rewards)
        self._console.print(f"         {mine} against {theirs}: {verdict}  [dim]total reward {total:+.0f}[/dim]")

    async def _act(self, session: ActorSession, number: int) -> None:
        try:
            move = await self._choose(f"Round {number:2}  your move: ")
        except Gone:
            # Not to act would leave the others waiting. A message is for what is no action: the referee ends the match.
            session.send_message(data_pb2.Leave(), to=[session.env_name])
        else:
            session.do_action(data_pb2.Action(move=move))

    async def _choose(self, question: str) -> data_pb2.Move:
        while True:
            answer = (await self._ask(question)).strip().lower()
            fitting = [move for name, move in MOVES.items() if answer and name.startswith(answer)]
            if fitting:
                return fitting[0]
            self._console.print("[dim]          r for rock, p for paper, s for scissors; Ctrl-D to leave[/dim]")
