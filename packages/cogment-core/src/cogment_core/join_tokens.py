"""Tokens that let a client actor take one seat in one trial, once.

An Orchestrator with a key lets in only those who show such a token; who has the key makes them. A token is
``v1.CONTENT.SIGNATURE``, in URL-safe base64: the content is JSON, the signature its HMAC-SHA256.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cogment_core.errors import BacklogError, CogmentError, UsageError

__all__ = ["METADATA_KEY", "JoinTokenError", "JoinTokens", "Seat"]

METADATA_KEY = "cogment-actor-token"
"""Under which key of the call's metadata the token is shown."""

KEY_BYTES = 16
"""How long a key has to be at least."""

TOKEN_LIMIT = 2048
"""Longest token that is looked at, in characters."""

USED_LIMIT = 100_000
"""How many tokens that were used, and have not expired, are remembered."""

_REFUSED = "the join token does not let you in: it is missing, wrong, expired or used"


class JoinTokenError(CogmentError):
    """A token does not let its bearer in. It never says why: that would tell what is there."""


@dataclass(frozen=True)
class Seat:
    """What a token lets its bearer take."""

    trial_id: str
    """The trial."""
    actor_name: str
    """The actor."""
    expires: float
    """When it is worth nothing any more, seconds since the epoch."""
    nonce: str
    """What no other token has."""


class JoinTokens:
    """Makes and checks tokens.

    Args:
        key: The secret that those who make tokens and those who check them share: at least 16 bytes.
        clock: Tells the time, in seconds since the epoch.

    Raises:
        UsageError: The key is too short.
    """

    def __init__(self, key: bytes | str, clock: Callable[[], float] = time.time) -> None:
        self._key = key.encode() if isinstance(key, str) else bytes(key)
        if len(self._key) < KEY_BYTES:
            raise UsageError(f"a key for join tokens has at least {KEY_BYTES} bytes, not {len(self._key)}")
        self._clock = clock
        self._used: dict[str, float] = {}

    def issue(self, trial_id: str, actor_name: str, lifetime: float = 3600.0) -> str:
        """A token for one seat.

        Args:
            trial_id: The trial.
            actor_name: The actor.
            lifetime: Seconds in which the bearer has to join.

        Raises:
            UsageError: The seat has no name, or ``lifetime`` is no positive number.
        """
        if not trial_id or not actor_name:
            raise UsageError("a join token is for one actor in one trial: both need a name")
        if not 0 < lifetime < math.inf:
            raise UsageError(f"the lifetime of a join token is a positive number of seconds, not {lifetime!r}")
        content = {"trial": trial_id, "actor": actor_name, "exp": self._clock() + lifetime, "id": secrets.token_hex(16)}
        encoded = _encode(json.dumps(content, separators=(",", ":")).encode())
        return f"v1.{encoded}.{_encode(self._sign(encoded))}"

    def check(self, token: str) -> Seat:
        """What the token is good for. It stays good until `use`.

        Raises:
            JoinTokenError: Nothing: it is not one of ours, has expired, or was used.
        """
        seat = self._read(token)
        if seat is None or seat.expires <= self._clock() or seat.nonce in self._used:
            raise JoinTokenError(_REFUSED)
        return seat

    def use(self, seat: Seat) -> None:
        """The seat is being taken: its token is worth nothing any more.

        Raises:
            JoinTokenError: It was used since it was checked.
            BacklogError: Too many were used that have not expired yet.
        """
        if seat.nonce in self._used:
            raise JoinTokenError(_REFUSED)
        if len(self._used) >= USED_LIMIT:
            now = self._clock()
            self._used = {nonce: expires for nonce, expires in self._used.items() if expires > now}
            if len(self._used) >= USED_LIMIT:
                raise BacklogError("too many join tokens were used lately: try again later")
        self._used[seat.nonce] = seat.expires

    def give_back(self, seat: Seat) -> None:
        """The seat was not taken after all: its token can be used again."""
        self._used.pop(seat.nonce, None)

    def _read(self, token: str) -> Seat | None:
        parts = token.split(".")
        if len(token) > TOKEN_LIMIT or len(parts) != 3 or parts[0] != "v1" or not token.isascii():
            return None
        try:
            if not hmac.compare_digest(self._sign(parts[1]), _decode(parts[2])):
                return None
            content: dict[str, Any] = json.loads(_decode(parts[1]))
            return Seat(content["trial"], content["actor"], float(content["exp"]), content["id"])
        except (binascii.Error, ValueError, KeyError, TypeError):
            return None

    def _sign(self, encoded: str) -> bytes:
        return hmac.new(self._key, f"cogment join v1.{encoded}".encode(), "sha256").digest()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
