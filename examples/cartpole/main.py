"""Trains a policy to balance a pole, on many Cogment trials at a time: ``python examples/cartpole/main.py``."""

import argparse
import asyncio
import sys
from pathlib import Path

import cogment
from cogment_services.orchestrator import Orchestrator
from environment import cartpole
from policy import linear_policy
from processes import train_in_processes
from report import Report
from rich.console import Console
from specs import cog_settings
from training import Observer, Settings, train
from trials import Endpoints, EpisodeLog

console = Console(highlight=False)


async def train_in_one_process(settings: Settings, observer: Observer) -> None:
    """Train with everything in this process and event loop: no server, no port, no serialization to speak of."""
    log = EpisodeLog()
    async with cogment.Context(user_id="cartpole", cog_settings=cog_settings) as context:
        # A Context knows the components of trials as functions, by name.
        context.register_environment(cartpole, "CartPole-v1")
        context.register_actor(linear_policy, "linear", ["player"])
        context.register_datalog(log.listen)

        # An Orchestrator runs the trials: it brings observations to actors, and actions to the environment. It finds
        # what is attached to it by name; whom it finds elsewhere, over gRPC, see processes.py.
        async with Orchestrator() as orchestrator:
            orchestrator.attach(context)

            # A Controller starts trials, and watches them.
            controller = context.get_controller(orchestrator.endpoint)
            await train(controller, log, Endpoints(), settings, observer)


def main() -> int:
    """Run the command. Returns its exit status."""
    options = parse_arguments()
    settings = Settings(options.generations, options.population, options.parallel, options.seed)
    place = "in processes of their own, over gRPC" if options.processes else "in this process"
    console.print(
        f"[bold]CartPole-v1[/bold]: at most {settings.generations} generations of {settings.population} trials, "
        f"{settings.parallel} at a time.\nOrchestrator, environment and actors run {place}.\n"
    )
    report = Report(settings, console)
    run = train_in_processes if options.processes else train_in_one_process
    status = 0
    try:
        with report.shown():
            asyncio.run(run(settings, report))
    except KeyboardInterrupt:
        console.print("\nInterrupted.")
        status = 130
    console.print(f"\n{report.summary()}")
    if report.generations:
        report.save_plot(options.output)
        console.print(f"The returns as a plot: {options.output}")
    if status == 0:
        console.print(what_next(options))
    return status


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Learn to balance a pole, on many Cogment trials at a time.")
    number = {"type": positive, "metavar": "N"}
    parser.add_argument("--generations", default=12, help="how long to train, at most (default: %(default)s)", **number)
    parser.add_argument("--population", default=24, help="trials in a generation (default: %(default)s)", **number)
    parser.add_argument("--parallel", default=8, help="trials at a time (default: %(default)s)", **number)
    parser.add_argument("--seed", type=int, default=3, help="equal seeds train alike (default: %(default)s)")
    parser.add_argument("--output", type=Path, default="returns.png", help="file to plot to (default: %(default)s)")
    parser.add_argument("--processes", action="store_true", help="run each component in a process of its own")
    parser.add_argument("--quick", action="store_true", help="3 generations of 12 trials: just to see that it works")
    options = parser.parse_args()
    if options.quick:
        options.generations, options.population = 3, 12
    return options


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"has to be at least 1, not {number}")
    return number


def what_next(options: argparse.Namespace) -> str:
    processes = "" if options.processes else "  --processes             [dim]each component in a process of its own, over gRPC[/dim]\n"
    return (
        "\nTry next, with the same command:\n"
        f"{processes}"
        "  --seed 1 --parallel 24  [dim]other candidates; all trials of a generation at once[/dim]\n"
        "  --help                  [dim]the other options[/dim]\n"
        "Or change what the actor does: it is in examples/cartpole/policy.py."
    )


if __name__ == "__main__":
    sys.exit(main())
