"""The agent's HTTP/1.1 client of upstreams: asyncio protocols, no task or queue per exchange.

`upstream.Upstream` is the way in; `call` holds the types that the exchange sees.
"""
