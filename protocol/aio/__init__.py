"""The asyncio shell of the protocol, used by hub and agent alike."""
