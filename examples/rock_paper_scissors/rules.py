"""The rules of rock-paper-scissors."""

from specs import data_pb2

__all__ = ["MOVES", "WINNER_OVER", "score"]

MOVES = {"rock": data_pb2.ROCK, "paper": data_pb2.PAPER, "scissors": data_pb2.SCISSORS}
"""The moves, by name."""

WINNER_OVER = {
    data_pb2.ROCK: data_pb2.PAPER,
    data_pb2.PAPER: data_pb2.SCISSORS,
    data_pb2.SCISSORS: data_pb2.ROCK,
}
"""For each move, the one that beats it."""


def score(mine: data_pb2.Move, theirs: data_pb2.Move) -> int:
    """What a round brings: 1 if ``mine`` wins, -1 if ``theirs`` does, 0 if it is a draw."""
    if mine == theirs:
        return 0
    return 1 if mine == WINNER_OVER[theirs] else -1
