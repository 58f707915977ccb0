"""Fuzzing of decoder and session: `target.py` is what is run, `corpus/` what is replayed by pytest."""
