"""Faults and load: runs that show the promises of docs/reliability.md. `python -m tests.reliability --help`."""
