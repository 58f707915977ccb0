"""Hostile hubs, hostile agents and ambiguous paths, by the thousand, against real processes; see `__main__`."""
