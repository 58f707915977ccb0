"""Live tail: the access log's lines, filtered, for operators who watch (docs/observability.md)."""
