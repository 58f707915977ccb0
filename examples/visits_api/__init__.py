"""A stand-in for the legacy visits API: the upstream of the demo, the tests and the benchmarks.

It answers the endpoints that real callers use, with synthetic people and deterministic data, from SQLite.
Run it with ``python -m examples.visits_api --listen 127.0.0.1:9000``.
"""
