"""The tunnel's wire protocol: a sans-IO core, its asyncio shell (`aio`) and what both programs share.

`SPEC.md` beside this file is normative. Modules directly in this package and in `http` do no I/O: bytes and
a clock reading go in; events, bytes and the next deadline come out.
"""
