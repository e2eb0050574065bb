"""Trains a policy to balance a pole, on many Cogment trials at a time: ``python examples/cartpole/main.py``."""

import argparse
import asyncio
import os
import shlex
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from rich.console import Console

import cogment
from cogment_services.datastore import TrialDatastore
from cogment_services.orchestrator import Orchestrator
from environment import cartpole
from policy import linear_policy
from processes import train_in_processes
from report import Report
from specs import cog_settings
from training import Observer, Settings, train
from trials import Endpoints

console = Console(highlight=False)


async def train_in_one_process(settings: Settings, trials: Path, observer: Observer) -> None:
    """Train with everything in this process and event loop: no server, no port, no serialization to speak of."""
    async with cogment.Context(user_id="cartpole", cog_settings=cog_settings) as context:
        # A Context knows the components of trials as functions, by name.
        context.register_environment(cartpole, "CartPole-v1")
        context.register_actor(linear_policy, "linear", ["player"])

        # An Orchestrator runs the trials: it brings observations to actors, and actions to the environment. It finds
        # what is attached to it by name; whom it finds elsewhere, over gRPC, see processes.py. A Trial Datastore takes
        # the log of the trials, and keeps it in a file.
        async with TrialDatastore(trials) as storage, Orchestrator() as orchestrator:
            orchestrator.attach(context)
            orchestrator.attach(storage)

            # A Controller starts trials, and watches them; a Datastore reads what was logged.
            controller = context.get_controller(orchestrator.endpoint)
            datastore = context.get_datastore(storage.endpoint)
            await train(controller, datastore, Endpoints(), settings, observer)


def main() -> int:
    """Run the command. Returns its exit status."""
    options = parse_arguments()
    run = time.strftime("%Y%m%d-%H%M%S")
    settings = Settings(run, options.generations, options.population, options.parallel, options.seed)
    place = "in processes of their own, over gRPC" if options.processes else "in this process"
    console.print(
        f"[bold]CartPole-v1[/bold]: at most {settings.generations} generations of {settings.population} trials, "
        f"{settings.parallel} at a time.\nOrchestrator, environment and actors run {place}."
    )
    console.print(f"{log_of(options.trials)}\n", markup=False)
    report = Report(settings, console)
    train_somewhere = train_in_processes if options.processes else train_in_one_process
    status = 0
    try:
        with report.shown():
            asyncio.run(cancelled_by_ctrl_c(train_somewhere(settings, options.trials, report)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("\nInterrupted.")
        status = 130
    except cogment.CogmentError as error:
        console.print(f"\n{error}", style="red", markup=False)
        status = 1
    console.print(f"\n{report.summary()}")
    if report.generations:
        from plot import save_plot  # Matplotlib takes a while to import: not before there is something to draw

        save_plot(report.generations, options.output)
        console.print(f"The returns as a plot: {options.output}")
        console.print(how_to_look(options.trials, run), markup=False, soft_wrap=True)
    if status == 0:
        console.print(what_next(options))
    return status


async def cancelled_by_ctrl_c(work: Awaitable[None]) -> None:
    """Cancel ``work`` when Ctrl-C is pressed. From Python 3.11 on, `asyncio.run` does so by itself."""
    task = asyncio.current_task()
    if sys.version_info < (3, 11) and sys.platform != "win32" and task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, task.cancel)
    await work


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Learn to balance a pole, on many Cogment trials at a time.")
    add = parser.add_argument
    add("--generations", type=at_least(1), default=12, metavar="N", help="train this long at most (%(default)s)")
    add("--population", type=at_least(1), default=24, metavar="N", help="trials in a generation (%(default)s)")
    add("--parallel", type=at_least(1), default=8, metavar="N", help="trials at a time (%(default)s)")
    add("--seed", type=at_least(0), default=3, metavar="N", help="equal seeds train alike (%(default)s)")
    add("--output", type=Path, default=Path("returns.png"), metavar="FILE", help="where to plot to (%(default)s)")
    add("--trials", type=Path, default=Path("trials.db"), metavar="FILE", help="where to log to (%(default)s)")
    add("--processes", action="store_true", help="run each component in a process of its own, over gRPC")
    add("--quick", action="store_true", help="3 generations of 12 trials, just to see that it works")
    options = parser.parse_args()
    for name, path in (("output", options.output), ("trials", options.trials)):
        if not path.parent.is_dir():
            parser.error(f"--{name}: there is no folder {path.parent}")
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            parser.error(f"--{name}: {path} cannot be written")
    if options.quick:
        options.generations, options.population = 3, 12
    return options


def at_least(minimum: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if int(text) < minimum:
            raise argparse.ArgumentTypeError(f"has to be at least {minimum}")
        return int(text)

    return number


def log_of(trials: Path) -> str:
    if trials.exists():
        return f"Every trial is logged to {trials}, after those of earlier runs."
    return f"Every trial is logged to {trials}, a new file."


def how_to_look(trials: Path, run: str) -> str:
    command = f"cogment client trial_datastore --file_storage {shlex.quote(str(trials))}"
    if os.environ.get("HATCH_ENV_ACTIVE") == "demo":  # where the cogment command is not on the path of the user
        command = f"python3 dev.py demo:{command}"
    specs = shlex.quote(os.path.relpath(cog_settings.__file__))
    these = f"--properties run={run}"
    return "\n".join(
        [
            f"All that was observed, done and rewarded: {trials}. To look at it, to draw and to export it:",
            f"  {command} list_trials {these},generation=1",
            f"  {command} plot {these}",
            f"  {command} export {these} --format jsonl --cog_settings {specs} --file trials.jsonl",
        ]
    )


def what_next(options: argparse.Namespace) -> str:
    tips = [
        ("--processes", "each component in a process of its own, over gRPC"),
        ("--seed 1 --parallel 24", "other candidates; all trials of a generation at once"),
        ("--help", "the other options"),
    ]
    lines = [f"  {option:24}[dim]{tip}[/dim]" for option, tip in tips[options.processes :]]
    return "\n".join(
        [
            "\nTry next, with the same command:",
            *lines,
            "Or change what the actor does: it is in examples/cartpole/policy.py.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
