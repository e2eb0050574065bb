"""The core of the Cogment Python SDK: trials, sessions, endpoints and transports."""
