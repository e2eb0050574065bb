"""The examples, run as users run them: as programs, from a fresh copy without generated modules."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "examples"

PATIENCE = 120.0
"""Seconds that a program may take."""

pytestmark = pytest.mark.timeout(3 * PATIENCE)  # several run in some tests


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples, as they are in an empty clone."""
    copy = tmp_path_factory.mktemp("clone") / "examples"
    generated = shutil.ignore_patterns("cog_settings.*", "*_pb2.*", "__pycache__", "*.png", "*.db*")
    shutil.copytree(EXAMPLES, copy, ignore=generated)
    return copy


@dataclass
class Outcome:
    """How a program ended."""

    status: int
    out: str
    err: str


def run(program: Path, *options: str, answers: str = "", cwd: Path | None = None) -> Outcome:
    """Run a program to its end."""
    command = [sys.executable, str(program), *options]
    done = subprocess.run(command, input=answers, capture_output=True, text=True, timeout=PATIENCE, cwd=cwd)
    return Outcome(done.returncode, done.stdout, done.stderr)


class Running:
    """A program that runs, as the foreground job of a terminal does: in a process group of its own."""

    def __init__(self, program: Path, *options: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-u", str(program), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._seen = ""

    def wait_for(self, text: str) -> None:
        """Wait until the program has written ``text``."""
        assert self._process.stdout is not None
        while text not in self._seen:
            character = self._process.stdout.read(1)
            assert character, f"the program ended without {text!r}: {self._seen}"
            self._seen += character

    def finish(self) -> Outcome:
        """Wait for its end."""
        out, err = self._process.communicate(timeout=PATIENCE)
        return Outcome(self._process.returncode, self._seen + out, err)

    def press_ctrl_c(self) -> Outcome:
        """Interrupt it, and wait for its end."""
        os.killpg(self._process.pid, signal.SIGINT)
        return self.finish()

    def kill(self) -> None:
        """Kill the program, but not what it started."""
        self._process.kill()
        self._process.wait()

    def wait_until_nothing_is_left(self) -> None:
        """Wait until no process of the group runs any more."""
        deadline = time.monotonic() + 15.0
        while is_group_alive(self._process.pid):
            assert time.monotonic() < deadline, "processes are left behind"
            time.sleep(0.05)

    def clean_up(self) -> None:
        """Leave nothing behind, whatever happened."""
        if is_group_alive(self._process.pid):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


def is_group_alive(group: int) -> bool:
    """Whether a process of ``group`` is there."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def running(program: Path, *options: str) -> Iterator[Running]:
    """Start a program; nothing of it is left when the block ends."""
    started = Running(program, *options)
    try:
        yield started
    finally:
        started.clean_up()


# --- CartPole ---------------------------------------------------------------------------------------------------------


FIRST_ROW = f"\n{1:10} "
"""How the row of the first generation begins."""


@dataclass(frozen=True)
class Row:
    """A row of the table that the training shows."""

    generation: int
    mean: float
    best: int
    worst: int


def table(out: str) -> list[Row]:
    """The table in what the training wrote."""
    rows = re.findall(r"^ *(\d+) +(\d+\.\d) +(\d+) +(\d+)\b", out, re.M)
    return [Row(int(number), float(mean), int(best), int(worst)) for number, mean, best, worst in rows]


def check_plot(path: Path) -> None:
    """Check that a file is a PNG image with dots for episodes and a line for the mean."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width > 800
        colors = image.convert("RGB").getcolors(maxcolors=image.width * image.height)
    assert sum(count for count, (red, _, blue) in colors if blue > red + 40) > 300
    assert sum(count for count, color in colors if color == (255, 127, 14)) > 300


def outputs(folder: Path) -> list[str]:
    """Options that make the demo write into ``folder``."""
    return ["--output", str(folder / "plot.png"), "--trials", str(folder / "trials.db")]


def test_cartpole_learns(folder: Path, tmp_path: Path):
    """One command trains on trials in one process: returns rise, and are there as a table and as a plot."""
    plot = tmp_path / "plot.png"
    done = run(folder / "cartpole" / "main.py", "--quick", "--output", str(plot), cwd=tmp_path)
    assert (done.status, done.err) == (0, "")
    rows = table(done.out)
    assert [row.generation for row in rows] == [1, 2, 3]
    assert all(8 <= row.worst <= row.mean <= row.best <= 500 for row in rows)
    assert rows[-1].mean > rows[0].mean
    assert "36 trials" in done.out
    assert str(plot) in done.out.replace("\n", "")
    check_plot(plot)


def commands_shown(out: str) -> list[list[str]]:
    """The commands that the demo shows to look at its trials."""
    lines = [line.strip() for line in out.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("cogment client trial_datastore ")]


def test_cartpole_logs_its_trials(folder: Path, tmp_path: Path):
    """Every trial is in a file; the commands that are shown list, draw and export it; a second run adds to it."""
    options = ["--generations", "2", "--population", "3", "--trials", "my trials.db"]
    first, second = (run(folder / "cartpole" / "main.py", *options, cwd=tmp_path) for _ in range(2))
    assert "logged to my trials.db, a new file" in first.out
    assert "logged to my trials.db, after those of earlier runs" in second.out
    for done, total in ((first, table(first.out)), (second, table(second.out))):
        listing, plot, export = (look(command, tmp_path) for command in commands_shown(done.out))
        assert len(re.findall(r" ENDED .* generation=1,run=", listing.out)) == 3
        assert "trial 6" in plot.out
        assert "6 trials with" in export.out
        rows = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
        returns: Counter[str] = Counter()
        for row in rows:
            assert len(row["observation"]["state"]) == 4
            returns[row["trial_id"]] += row["reward"] or 0
        assert sorted(returns.values())[-1] == max(row.best for row in total)
        (tmp_path / "trials.jsonl").unlink()


def look(command: list[str], cwd: Path) -> Outcome:
    """Run a command that the demo shows."""
    done = subprocess.run(
        [sys.executable, "-m", "cogment_services", *command[1:]],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "80"},
    )
    assert done.returncode == 0, done.stderr
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_cartpole_refuses_a_file_that_is_in_use(folder: Path, tmp_path: Path):
    """A second run at the same time says so, and spoils nothing."""
    log = ["--trials", str(tmp_path / "trials.db"), "--output", str(tmp_path / "plot.png")]
    with running(folder / "cartpole" / "main.py", *log) as program:
        program.wait_for(FIRST_ROW)
        refused = run(folder / "cartpole" / "main.py", *log)
        done = program.press_ctrl_c()
    assert refused.status == 1
    assert "in use by another datastore" in " ".join(refused.out.split())
    assert "Traceback" not in refused.out + refused.err
    assert done.status == 130


def test_cartpole_stops_when_the_actor_fails(folder: Path, tmp_path: Path):
    """Whoever changes the policy, and makes a mistake, is told; trials that were broken off are no episodes."""
    copy = tmp_path / "cartpole"
    shutil.copytree(folder / "cartpole", copy)
    policy = (copy / "policy.py").read_text()
    (copy / "policy.py").write_text(policy.replace("session.do_action(", "session.do_nonsense("))
    done = run(copy / "main.py", "--quick", cwd=tmp_path)
    assert done.status == 1
    assert "did not end by itself" in " ".join(done.out.split())
    assert "do_nonsense" in done.err


def test_cartpole_learns_alike_with_equal_seeds(folder: Path, tmp_path: Path):
    """What is learned depends on the seed, and not on how many trials run at a time."""
    program = folder / "cartpole" / "main.py"
    options = ["--generations", "2", "--population", "5"]
    alone, together, other = (
        table(run(program, *options, "--seed", seed, "--parallel", parallel, cwd=tmp_path).out)
        for seed, parallel in (("7", "1"), ("7", "5"), ("8", "5"))
    )
    assert len(alone) == 2
    assert alone == together
    assert alone != other


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--population", "0"], "has to be at least 1"),
        (["--seed", "-1"], "has to be at least 0"),
        (["--output", "no/such/folder/plot.png"], "there is no folder"),
        (["--trials", "no/such/folder/trials.db"], "there is no folder"),
        (["--output", "."], "cannot be written"),
        (["--trials", "."], "cannot be written"),
    ],
)
def test_cartpole_refuses_options_that_make_no_sense(folder: Path, options: list[str], complaint: str):
    """Options are checked before the training, not after it."""
    done = run(folder / "cartpole" / "main.py", *options)
    assert done.status == 2
    assert complaint in done.err
    assert "Traceback" not in done.err


def test_cartpole_stops_on_ctrl_c(folder: Path, tmp_path: Path):
    """Ctrl-C ends the training in good order, and what was learned until then is shown."""
    plot = tmp_path / "plot.png"
    with running(folder / "cartpole" / "main.py", *outputs(tmp_path)) as program:
        program.wait_for(FIRST_ROW)
        done = program.press_ctrl_c()
    assert done.status == 130
    assert "Interrupted" in done.out
    assert "Traceback" not in done.out + done.err
    assert "never retrieved" not in done.err
    check_plot(plot)


@pytest.mark.slow
def test_cartpole_learns_the_same_in_processes(folder: Path, tmp_path: Path):
    """With Orchestrator, environment and actors in processes of their own, the outcome is that of one process."""
    program = folder / "cartpole" / "main.py"
    here = run(program, "--quick", cwd=tmp_path)
    with running(program, "--quick", "--processes", *outputs(tmp_path)) as elsewhere:
        done = elsewhere.finish()
        elsewhere.wait_until_nothing_is_left()
    assert (done.status, done.err) == (0, "")
    assert table(done.out) == table(here.out)
    check_plot(tmp_path / "plot.png")


@pytest.mark.slow
def test_cartpole_stops_processes_on_ctrl_c(folder: Path, tmp_path: Path):
    """Ctrl-C, which a terminal sends to all processes, ends all of them in good order."""
    with running(folder / "cartpole" / "main.py", "--processes", *outputs(tmp_path)) as program:
        program.wait_for(FIRST_ROW)
        done = program.press_ctrl_c()
        program.wait_until_nothing_is_left()
    assert done.status == 130
    assert "Interrupted" in done.out
    assert "Traceback" not in done.out + done.err


@pytest.mark.slow
def test_cartpole_stops_processes_that_still_start(folder: Path, tmp_path: Path):
    """Ctrl-C before the processes serve ends them at once, and none of them complains."""
    with running(folder / "cartpole" / "main.py", "--processes", *outputs(tmp_path)) as program:
        program.wait_for("generation  mean return")
        done = program.press_ctrl_c()
        program.wait_until_nothing_is_left()
    assert done.status == 130
    assert "Interrupted" in done.out
    assert "Traceback" not in done.out + done.err


@pytest.mark.slow
def test_cartpole_leaves_no_process_behind_when_killed(folder: Path, tmp_path: Path):
    """The other processes end when the main one dies without a word."""
    with running(folder / "cartpole" / "main.py", "--processes", *outputs(tmp_path)) as program:
        program.wait_for(FIRST_ROW)
        program.kill()
        program.wait_until_nothing_is_left()


# --- rock-paper-scissors ----------------------------------------------------------------------------------------------

WINS = {("rock", "scissors"), ("paper", "rock"), ("scissors", "paper")}


def rounds_of(out: str) -> list[tuple[str, str, str]]:
    """The moves of both players and the verdict, for each round in what the match wrote."""
    return re.findall(r"(rock|paper|scissors) against (rock|paper|scissors): (you win|a draw|the computer wins)", out)


def verdict(mine: str, theirs: str) -> str:
    """What the rules say."""
    if mine == theirs:
        return "a draw"
    return "you win" if (mine, theirs) in WINS else "the computer wins"


def test_rock_paper_scissors_plays_a_match(folder: Path):
    """A script plays against the program, which soon knows it; rounds are judged and counted by the rules."""
    done = run(folder / "rock_paper_scissors" / "main.py", "--auto", "--rounds", "30")
    assert (done.status, done.err) == (0, "")
    rounds = rounds_of(done.out)
    assert [mine for mine, _, _ in rounds] == ["rock", "paper", "scissors"] * 10
    assert all(said == verdict(mine, theirs) for mine, theirs, said in rounds)
    count = Counter(said for _, _, said in rounds)
    won, lost = count["you win"], count["the computer wins"]
    assert f"{won} won, {lost} lost, {count['a draw']} drawn. The computer wins." in done.out
    assert f"total reward {won - lost:+}" in done.out
    # Nine kinds of rounds can come before a move: the program guesses once for each, and knows then.
    assert lost >= 20


def test_rock_paper_scissors_asks_a_person(folder: Path):
    """Moves can be abbreviated; what is no move is asked for again; the end of the input leaves the match."""
    done = run(folder / "rock_paper_scissors" / "main.py", answers="r\nlizard\n\nSciss\n")
    assert (done.status, done.err) == (0, "")
    assert [mine for mine, _, _ in rounds_of(done.out)] == ["rock", "scissors"]
    assert done.out.count("r for rock") == 2
    assert "You left after 2 of 10 rounds." in done.out


def test_rock_paper_scissors_ends_with_the_last_round(folder: Path):
    """After the last round nobody is asked any more."""
    done = run(folder / "rock_paper_scissors" / "main.py", "--rounds", "2", answers="p\np\np\n")
    assert (done.status, done.err) == (0, "")
    assert len(rounds_of(done.out)) == 2
    assert "You left" not in done.out


def test_rock_paper_scissors_stops_on_ctrl_c(folder: Path):
    """Ctrl-C at the prompt leaves the match, without waiting for Enter."""
    with running(folder / "rock_paper_scissors" / "main.py") as program:
        program.wait_for("your move: ")
        done = program.press_ctrl_c()
    assert (done.status, done.err) == (0, "")
    assert "You left after 0 of 10 rounds." in done.out
