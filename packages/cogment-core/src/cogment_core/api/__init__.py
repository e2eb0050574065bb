"""The generated messages and services of the Cogment protocol (``proto/cogment/api``)."""
