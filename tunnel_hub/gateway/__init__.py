"""The API gateway: who a caller is, what it may ask for, and what the upstream is told of it."""
