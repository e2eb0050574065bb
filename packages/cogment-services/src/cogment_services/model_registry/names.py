"""What models may be called, and what may be written on them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import grpc

from cogment_services.refusals import Refusal

__all__ = ["MAX_USER_DATA", "check_model_id", "check_user_data", "unknown_model"]

MAX_USER_DATA = 256 * 1024
"""Most bytes of user data of one model or version. A page of ten of them is less than gRPC clients take by default."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
# Names are no paths here. But some are for those who pull a model into a file of its name.
_NO_FILE_NAME = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?|.*\.", re.ASCII | re.IGNORECASE)


def check_model_id(model_id: str) -> str:
    """``model_id``, if a model may be called that.

    Raises:
        Refusal: INVALID_ARGUMENT.
    """
    if not _NAME.fullmatch(model_id) or _NO_FILE_NAME.fullmatch(model_id):
        shown = f"{model_id[:40]}..." if len(model_id) > 40 else model_id
        raise Refusal(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"{shown!a} cannot be the id of a model: 1 to 128 letters, digits, '.', '_' and '-', a letter or digit "
            "first, no '.' last, and none of the names that some systems keep for devices",
        )
    return model_id


def check_user_data(user_data: Mapping[str, str]) -> None:
    """Refuse user data that are too many.

    Raises:
        Refusal: INVALID_ARGUMENT.
    """
    size = sum(len(key.encode()) + len(value.encode()) for key, value in user_data.items())
    if size > MAX_USER_DATA:
        text = f"{size} bytes of user data are more than the {MAX_USER_DATA} that a model or a version may have"
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, text)


def unknown_model(model_id: str, code: grpc.StatusCode = grpc.StatusCode.NOT_FOUND) -> Refusal:
    """The answer to those who ask for a model that is not there."""
    return Refusal(code, f"no model {model_id!r} found")
