"""HTTP Message Signatures (RFC 9421) of requests: a caller signs, an agent checks. No I/O and no clock.

`sign` and `verify` are the two ends; what is signed is the request's bytes as they travel, never a parsed URL.
"""
