"""The hub's status page and its JSON, on the admin listener."""
