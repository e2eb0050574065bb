"""Trial ids as arguments of a Controller, and as metadata."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogment_controller.trial_ids import as_metadata, checked_trial_ids, in_batches
from cogment_core.errors import UsageError
from cogment_core.rpc import METADATA_LIMIT, metadata_size

IDS = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=5000)


@given(st.lists(IDS, max_size=60))
def test_batches_hold_all_ids_in_order(trial_ids: list[str]) -> None:
    """Splitting loses, adds and moves no id, and makes no empty batch."""
    batches = list(in_batches(trial_ids, METADATA_LIMIT))
    assert [trial_id for batch in batches for trial_id in batch] == trial_ids
    assert all(batches)


@given(st.lists(IDS, max_size=60), st.integers(-100, METADATA_LIMIT))
def test_batches_fit_into_the_metadata_of_a_call(trial_ids: list[str], room: int) -> None:
    """A batch of more than one id takes no more room than there is, counted as calls count it."""
    for batch in in_batches(trial_ids, room):
        assert len(batch) == 1 or metadata_size(as_metadata(batch)) <= room


def test_a_few_ids_are_one_batch() -> None:
    """What fits into one call is one call."""
    trial_ids = [f"trial-{number}" for number in range(50)]
    assert list(in_batches(trial_ids, METADATA_LIMIT)) == [trial_ids]


@pytest.mark.parametrize("given_ids", [["a", "b"], ("a", "b"), {"a": 1, "b": 2}, iter(["a", "b"])])
def test_any_iterable_of_ids_is_taken(given_ids: object) -> None:
    """Trial ids come in whatever can be iterated over."""
    assert checked_trial_ids(given_ids, "f") == ["a", "b"]


def test_one_id_alone_is_that_id(caplog: pytest.LogCaptureFixture) -> None:
    """A string is one trial id, not a sequence of letters; that is deprecated."""
    assert checked_trial_ids("my-trial", "Controller.test_one_id") == ["my-trial"]
    assert "Controller.test_one_id takes a list of trial ids" in caplog.text


def test_no_ids() -> None:
    """None and an empty list are no ids."""
    assert checked_trial_ids(None, "f") == checked_trial_ids([], "f") == []


@pytest.mark.parametrize("trial_id", ["env-2026-01-01T10:00:00.123", "ALE/Pong-v5", "a b", "~"])
def test_usual_ids_are_allowed(trial_id: str) -> None:
    """Trial ids may have colons, dots, slashes, spaces: all of printable ASCII."""
    assert checked_trial_ids([trial_id], "f") == [trial_id]


@pytest.mark.parametrize("trial_id", ["", "é", "a\n", "\x7f", None, 7, b"a", ["a"]])
def test_what_cannot_be_a_trial_id_is_refused(trial_id: object) -> None:
    """An id that is no text, is empty, or could not be sent as metadata is an error that names the call."""
    with pytest.raises(UsageError, match=r"^Controller\.f: "):
        checked_trial_ids([trial_id], "Controller.f")
