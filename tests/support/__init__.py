"""The harness of the tests that run real processes and real sockets."""
