"""Ids of trials and of users, as they come with requests."""

from __future__ import annotations

import uuid
from typing import Any

from cogment_core.errors import UsageError

__all__ = ["MAX_LENGTH", "checked_trial_id", "checked_user_id", "new_trial_id", "the_trial_id", "trial_ids"]

MAX_LENGTH = 256
"""Longest id, in characters: ids go into the metadata of calls, which is limited."""

_KEY = "trial-id"


def new_trial_id() -> str:
    """An id that nobody can guess."""
    return str(uuid.uuid4())


def checked_trial_id(trial_id: str) -> str:
    """``trial_id``, if it can be one.

    Raises:
        UsageError: It is empty, too long, or cannot be sent as metadata.
    """
    if not trial_id:
        raise UsageError("a trial id is empty")
    return _checked(trial_id, "trial id")


def checked_user_id(user_id: str) -> str:
    """``user_id``, if it can be sent as metadata; it may be empty.

    Raises:
        UsageError: It is too long, or cannot be sent as metadata.
    """
    return _checked(user_id, "user id")


def trial_ids(context: Any) -> list[str]:
    """The trial ids in the metadata of a call, in order.

    Raises:
        UsageError: One of them cannot be a trial id.
    """
    values = [value for key, value in context.invocation_metadata() or () if key == _KEY]
    return [checked_trial_id(value if isinstance(value, str) else repr(value)) for value in values]


def the_trial_id(context: Any) -> str:
    """The only trial id in the metadata of a call.

    Raises:
        UsageError: There is none, or more than one, or it cannot be a trial id.
    """
    ids = trial_ids(context)
    if len(ids) != 1:
        raise UsageError(f"exactly one {_KEY!r} is needed in the metadata of the call, not {len(ids)}")
    return ids[0]


def _checked(text: str, what: str) -> str:
    if len(text) > MAX_LENGTH:
        raise UsageError(f"a {what} has at most {MAX_LENGTH} characters, not {len(text)}")
    # gRPC strips white space around values, so such an id would reach the peers as another one.
    if not (text.isascii() and text.isprintable()) or text != text.strip():
        raise UsageError(f"a {what} is printable ASCII without white space around it, not {text!r}")
    return text
