"""Malformed and ambiguous requests through the tunnel to real servers: one in is one, or none, out."""
