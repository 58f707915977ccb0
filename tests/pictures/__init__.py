"""`make screenshots`: the pictures of the documentation, taken of real programs under load."""
