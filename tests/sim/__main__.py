"""`python -m tests.sim SEED`: replay one seed and print what happened."""

from __future__ import annotations

import sys

from .ledger import Broken
from .world import World


def main() -> int:
    world = World(int(sys.argv[1]), verbose=True)
    try:
        world.run()
    except Broken as error:
        print("\n".join(world.trace[-int(sys.argv[2]) if len(sys.argv) > 2 else -200 :]))
        print(error)
        return 1
    print("\n".join(world.trace))
    print(f"{world.plan}\n{world.steps} steps: every invariant holds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
