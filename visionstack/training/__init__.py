"""Networks of the user's own: data in, a model like any other out."""

from typing import Literal

Way = Literal["scratch", "head", "all"]
WayChoice = Literal["auto", "best", Way]
"""What is trained of a network. It stands here since commands name it before they load more."""
