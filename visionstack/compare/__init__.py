"""Rows of machines and functions: planned, measured, priced, judged."""

from typing import Literal

Strategy = Literal["cost", "speed", "balanced"]
"""What a winner is named by. It stands here since commands name it before they load more."""
