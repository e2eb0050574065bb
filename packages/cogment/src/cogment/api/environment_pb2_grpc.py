"""`cogment_core.api.environment_pb2_grpc`, under the name that existing code imports."""

import sys

from cogment_core.api import environment_pb2_grpc
from cogment_core.api.environment_pb2_grpc import *  # noqa: F403  # for type checkers, which do not see the next line

sys.modules[__name__] = environment_pb2_grpc
