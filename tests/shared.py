"""Where the tests find other people's vectors and sample data: beside the checkout, never inside it."""

from pathlib import Path
from typing import Final

import pytest

CHECKOUT: Final = Path(__file__).resolve().parent.parent
SHARED: Final = CHECKOUT.parent / "shared"


def shared(*parts: str) -> Path:
    """A file or folder of `../shared`; skips the test, saying so, where it is not there."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {path}, which lies beside the checkout")
    return path


def vectors(*parts: str) -> Path:
    """A file or folder of the shared test vectors, or a skip."""
    return shared("vectors", *parts)


def data(*parts: str) -> Path:
    """A file or folder of the shared sample data, or a skip."""
    return shared("data", *parts)
