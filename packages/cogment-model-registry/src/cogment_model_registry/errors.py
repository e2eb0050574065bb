"""What can be wrong with a model itself."""

from __future__ import annotations

from cogment_core.errors import CogmentError, DecodeError

__all__ = ["DamagedModelError", "DeserializationError"]


class DamagedModelError(CogmentError):
    """The data of an iteration is not what it should be: its size or its SHA-256 hash differs.

    Args:
        message: What differs.
        model_name: The model.
        iteration: The iteration.
    """

    def __init__(self, message: str, *, model_name: str = "", iteration: int = 0) -> None:
        super().__init__(message)
        self.model_name = model_name
        self.iteration = iteration


class DeserializationError(DecodeError):
    """The function that was given to deserialize a tracked model has failed; its error is the ``__cause__``.

    Args:
        message: What happened.
        model_name: The model.
        iteration: The iteration whose data it was.
    """

    def __init__(self, message: str, *, model_name: str = "", iteration: int = 0) -> None:
        super().__init__(message)
        self.model_name = model_name
        self.iteration = iteration
