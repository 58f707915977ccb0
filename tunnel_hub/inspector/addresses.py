"""An exchange's number in the addresses of pages and API."""

from __future__ import annotations

from typing import Final

from starlette.convertors import IntegerConvertor, register_url_convertor


class _Convertor(IntegerConvertor):
    """Longer ones, which Python refuses to read, are none."""

    regex = "[0-9]{1,18}"


register_url_convertor("exchange", _Convertor())

NUMBER: Final = "/{number:exchange}"
"""Part of a route's path; its parameter `number` is an integer."""
