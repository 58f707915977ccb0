"""Every rule of HTTP that hub and agent keep (docs/http.md), as rows of tables against the running programs."""
