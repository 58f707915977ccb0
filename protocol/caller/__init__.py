"""For callers in Python: `httpx` authentication that the hub and the agents understand.

    from protocol.caller import MessageSignature
    client = httpx.Client(base_url="http://hub:8080", auth=MessageSignature("booking.key", "booking"))

Nothing of the hub, the agent or an event loop is imported.
"""

from .auth import Both
from .signature import MessageSignature
from .token import ClientToken

__all__ = ["Both", "ClientToken", "MessageSignature"]
