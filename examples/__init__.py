"""Runnable examples; no part of the installed programs."""
