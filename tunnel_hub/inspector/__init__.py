"""The request inspector: what single exchanges looked like, for a while (docs/observability.md)."""
