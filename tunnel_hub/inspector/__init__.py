"""The request inspector: what single exchanges looked like, for an operator, for a while (docs/observability.md)."""
