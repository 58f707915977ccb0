"""The fields that sign a request (RFC 9421 section 3.1), as `verify` demands them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import http_sf

from .base import Signable, signature_base
from .keys import SigningKey
from .verify import TAG

LABEL: Final = "tunnel"
"""Of our signature among others; it is not signed, and nobody looks at it."""


def signature_fields(
    request: Signable, key: SigningKey, keyid: str, names: Sequence[str], *, created: int, nonce: str
) -> tuple[str, str]:
    """The values of Signature-Input and Signature.

    names: what to cover; with a body, content-digest among them. created: seconds since 1970.

    Raises:
        NotComputable: a covered component is not in the request, or cannot be signed.
    """
    parameters = {"created": created, "nonce": nonce, "keyid": keyid, "alg": key.algorithm, "tag": TAG}
    inner: Any = ([(name, {}) for name in names], parameters)
    described = http_sf.ser([inner])
    signature = key.sign(signature_base(request, names, described))
    return f"{LABEL}={described}", http_sf.ser({LABEL: signature})
