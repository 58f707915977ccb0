"""The demonstration: an upstream, an agent and a hub as real processes, and one story told through them."""
