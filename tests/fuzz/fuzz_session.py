"""Fuzz the session for as long as you like (needs the extra `fuzz`):

python -m tests.fuzz.fuzz_session [-max_total_time=600] [tests/fuzz/corpus]

A finding is written to the working directory; put it into `corpus/` under a name that says what it was.
"""

from __future__ import annotations

import sys

try:
    import atheris
except ImportError:  # the replay in test_corpus.py needs nothing of it
    atheris = None


def main() -> int:
    if atheris is None:
        print("atheris is not installed: pip install '.[fuzz]'", file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=["protocol"]):
        from tests.fuzz.target import run
    atheris.Setup(sys.argv, run)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
