"""Whether the tests that build packages and boot machines shall run: they take minutes."""

from __future__ import annotations

import os
from typing import Final

NOT_ASKED_FOR: Final = "`make deploy-test` builds packages and boots machines; other runs do not"


def asked_for() -> bool:
    return bool(os.environ.get("DEPLOY_TESTS"))
