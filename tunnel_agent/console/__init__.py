"""How the agent shows itself to those who run it: one snapshot, for the terminal and for its page."""
