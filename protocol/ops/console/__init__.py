"""What the status pages of hub and agent share: operators, the frame of a page, live events."""
