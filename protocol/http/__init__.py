"""HTTP rules shared by both ends (RFC 9110, RFC 9112): pure functions of bytes, no input or output."""
