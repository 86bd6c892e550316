"""What a regression task holds against its plan."""

from .amounts import Amounts as Evidence

__all__ = ["Evidence"]
