"""What a datastore keeps of a ``google.protobuf.Any``: all of it, or its value only.

Which of both is not written anywhere, and one store can have both, after an import. Trial Datastores of Cogment 2.x
keep the value alone; the type is lost.
"""

from __future__ import annotations

import re

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError

__all__ = ["read_any"]

_STANDARD_PREFIX = "type.googleapis.com"
_TYPE_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


def read_any(stored: bytes) -> Any:
    """The ``Any`` that ``stored`` is, or else an ``Any`` without a type that has ``stored`` as its value.

    Either way the value is the bytes of the message that was sent. ``stored`` counts as a whole ``Any`` if it is
    one to the byte, and its type URL ends with the name of a type that is known here and whose messages can be read
    from the value; types that are not known have to have the standard prefix, ``type.googleapis.com/``. Texts and
    paths that were sent as a message of one string, and so look like an ``Any``, do not meet this.
    """
    try:
        whole = Any.FromString(stored)
    except DecodeError:
        return Any(value=stored)
    again = Any(type_url=whole.type_url, value=whole.value).SerializeToString()
    if whole.type_url and again == stored and _is_meant(whole):
        return whole
    return Any(value=stored)


def _is_meant(whole: Any) -> bool:
    prefix, _, name = whole.type_url.rpartition("/")
    if not _TYPE_NAME.fullmatch(name):
        return False
    if prefix == _STANDARD_PREFIX:
        return True
    if not prefix and not whole.type_url.startswith("/"):
        return False
    return _is_message(name, whole.value)


def _is_message(name: str, value: bytes) -> bool:
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(name)
    except KeyError:
        return False
    try:
        message_factory.GetMessageClass(descriptor).FromString(value)
    except DecodeError:
        return False
    return True
