"""Rock-paper-scissors against a program: ``python examples/rock_paper_scissors/main.py``."""

import argparse
import asyncio
import itertools
import sys
from concurrent.futures import ThreadPoolExecutor

from rich.console import Console

import cogment
from cogment_services.orchestrator import Orchestrator
from person import Person
from predictor import predictor
from referee import referee
from rules import MOVES
from specs import cog_settings, data_pb2
from terminal import Terminal

console = Console(highlight=False)


async def play_match(person: Person, rounds: int) -> None:
    """Run one trial, in this process, with a person as one of the actors."""
    async with cogment.Context(user_id="rock-paper-scissors", cog_settings=cog_settings) as context:
        context.register_environment(referee, "referee")
        context.register_actor(predictor, "predictor", ["player"])
        context.register_actor(person.play, "person", ["player"])
        async with Orchestrator() as orchestrator:
            orchestrator.attach(context)
            controller = context.get_controller(orchestrator.endpoint)
            trial_id = await controller.start_trial(trial_params=match_parameters(rounds))

            # The trial waits for the actor with the endpoint cogment://client to join. This returns when it is over.
            await context.join_trial(trial_id, orchestrator.endpoint, actor_name="you")


def match_parameters(rounds: int) -> cogment.TrialParameters:
    """A match between a program, which the Orchestrator fetches, and a person, who comes by themselves."""
    person = cogment.ActorParameters(
        cog_settings, "player", name="you", implementation="person", endpoint="cogment://client"
    )
    program = cogment.ActorParameters(cog_settings, "player", name="computer", implementation="predictor")
    return cogment.TrialParameters(
        cog_settings,
        actors=[person, program],
        environment_name="referee",
        environment_implementation="referee",
        environment_config=data_pb2.MatchConfig(rounds=rounds),
    )


def play_at_terminal(rounds: int) -> Person:
    """Play with the person at the terminal: the event loop in a thread of its own, the questions in this one."""
    terminal = Terminal()
    person = Person(terminal.ask, console)
    with ThreadPoolExecutor(max_workers=1) as thread:
        match = thread.submit(asyncio.run, play_match(person, rounds))
        match.add_done_callback(lambda _: terminal.close())
        terminal.serve()
    match.result()
    return person


def play_script(rounds: int) -> Person:
    """Play without a person: always rock, then paper, then scissors. A program should see through that."""
    script = itertools.cycle(MOVES)

    async def ask(question: str) -> str:
        move = next(script)
        console.print(f"{question}{move}")
        return move

    person = Person(ask, console)
    asyncio.run(play_match(person, rounds))
    return person


def main() -> int:
    """Run the command. Returns its exit status."""
    options = parse_arguments()
    console.print(
        f"[bold]Rock-paper-scissors[/bold]: {options.rounds} rounds against a program that watches your habits.\n"
        "Type r, p or s. Ctrl-D or Ctrl-C to leave.\n"
    )
    try:
        person = play_script(options.rounds) if options.auto else play_at_terminal(options.rounds)
    except KeyboardInterrupt:
        return 130
    console.print(f"\n{summary(person.rewards, options.rounds)}")
    return 0


def summary(rewards: list[float], rounds: int) -> str:
    won, lost = rewards.count(1), rewards.count(-1)
    if len(rewards) < rounds:
        verdict = f"You left after {len(rewards)} of {rounds} rounds."
    else:
        verdict = "You win the match!" if won > lost else "The computer wins." if won < lost else "Nobody wins."
    return f"{won} won, {lost} lost, {len(rewards) - won - lost} drawn. [bold]{verdict}[/bold]"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Play rock-paper-scissors against a program.")
    parser.add_argument("--rounds", type=int, default=10, choices=range(1, 1001), metavar="N", help="1 to 1000 (10)")
    parser.add_argument("--auto", action="store_true", help="let a script play in your place")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
