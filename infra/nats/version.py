"""Our version, as NATS services tell it."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed


def version() -> str:
    """Such as 0.1.0."""
    try:
        return installed("haulage")
    except PackageNotFoundError:  # run from a folder, without being installed
        return "0.0.0"
