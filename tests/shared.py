"""Where the footage and golden numbers beside a checkout lie, for the tests that can use them.

The project stands alone: without the folder these tests are skipped, and say so.
"""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def needs_shared(*names: str) -> pytest.MarkDecorator:
    """Skip a test unless every named file lies in the folder beside the checkout."""
    missing = [name for name in names if not (SHARED / name).exists()]
    return pytest.mark.skipif(bool(missing), reason=f"not beside this checkout: {', '.join(missing)}")
