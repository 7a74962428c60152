"""A window that shows a stream: the pictures as they are answered, with their boxes."""

from __future__ import annotations

from typing import Final

import cv2

from visionstack.errors import VisionstackError
from visionstack.stream.errors import WindowClosedError
from visionstack.stream.pictures import Picture
from visionstack.stream.saving import draw, pixels
from visionstack.stream.types import StreamResult

_WIDEST: Final = 1280
"""Pixels; larger pictures are shown smaller."""


class Window:
    """Made and used on one thread, the main one. Escape, q and the closing button close it."""

    def __init__(self, title: str) -> None:
        """Raises VisionstackError where no window can be opened."""
        try:
            import tkinter
        except ImportError as error:
            raise _no_window("this Python has no tkinter (Debian's package python3-tk)") from error
        try:
            self._root = tkinter.Tk()
        except tkinter.TclError as error:
            raise _no_window(str(error)) from error
        self._tk = tkinter
        self._root.title(title)
        self._root.protocol("WM_DELETE_WINDOW", self._close)
        for key in ("<Escape>", "q"):
            self._root.bind(key, lambda _event: self._close())
        self._label = tkinter.Label(self._root, borderwidth=0, text="waiting for the first picture")
        self._label.pack()
        self._image: object | None = None
        self._open = True

    def show(self, picture: Picture, result: StreamResult) -> None:
        """Draw an answered picture. Raises WindowClosedError."""
        drawn = draw(pixels(picture), result.detections)
        height, width = drawn.shape[:2]
        if width > _WIDEST:
            size = (_WIDEST, round(height * _WIDEST / width))
            drawn = cv2.resize(drawn, size, interpolation=cv2.INTER_AREA)
        _, encoded = cv2.imencode(".ppm", drawn)
        image = self._tk.PhotoImage(master=self._root, data=encoded.tobytes(), format="PPM")
        self._label.configure(image=image)
        self._image = image  # Tk shows only what somebody keeps
        self.pump()

    def pump(self) -> None:
        """Let the window react; to be called often. Raises WindowClosedError."""
        if self._open:
            self._root.update()
        if not self._open:
            raise WindowClosedError("The window was closed.")

    def close(self) -> None:
        """Take it off the screen."""
        if self._open:
            self._close()

    def _close(self) -> None:
        self._open = False
        self._root.destroy()


def _no_window(why: str) -> VisionstackError:
    return VisionstackError(
        f"No window can be opened here: {why}.",
        remedy="The stream goes on without one; --save out.mp4 keeps the pictures, and the page "
        "(visionstack try, visionstack open) shows them in a browser.",
    )
