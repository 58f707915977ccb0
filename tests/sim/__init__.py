"""Both ends of a session with a virtual clock and a seeded link (see `world.py`)."""
