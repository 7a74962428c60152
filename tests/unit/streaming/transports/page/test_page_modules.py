"""The page's modules in node, held to a conversation and to boxes that Python made.

`python -m tests.unit.streaming.transports.page.test_page_modules` writes the conversation anew.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from runtime.contract import DETECT_CONFIDENCE, DETECT_IOU
from runtime.inference.boxes import decode_darknet, suppress
from runtime.inference.letterbox import Letterbox
from runtime.protocol import messages
from runtime.protocol.connection import Role, StreamProtocol
from runtime.protocol.errors import RETRYABLE, CloseCode, FrameErrorCode
from runtime.protocol.framing import Whole
from runtime.protocol.messages import (
    Close,
    Detection,
    Dropped,
    Encoding,
    Frame,
    FrameFailed,
    GoAway,
    Hello,
    Kind,
    Model,
    Ping,
    Pong,
    Result,
    ResultFlag,
    Timing,
    Welcome,
)
from runtime.protocol.options import HelloOptions, ModelOffer, WelcomeOffer
from runtime.streaming.transports.page import serving

HERE = Path(__file__).parent
CONVERSATION = HERE / "conversation.json"
CLIENT, SERVER = Role.CLIENT, Role.SERVER


def conversation() -> list[dict[str, Any]]:
    """What two ends of a connection say to each other, in turn, and what it means."""
    options = HelloOptions(token="a secret", track=True, gate=0.25, next_sequence=7, client="page")
    model = ModelOffer(
        name="yolov3-tiny",
        version="1",
        weights_trained=True,
        weights="darknet's",
        engine="openvino",
        precision="fp32",
        device="cpu",
        labels=("person", "bicycle"),
    )
    offer = WelcomeOffer(
        session="s",
        resumed=False,
        next_sequence=7,
        window=8,
        frame_bytes=10,
        frame_pixels=50,
        idle_seconds=60.0,
        resume_seconds=30.0,
        server="test",
        model=model,
    )
    result = Result(
        2**40 + 1,
        640,
        480,
        Timing(10**12, 10**12 + 90, 20, 30, 35, 5, 2),
        (Detection(16, 0.5, (1.0, 2.0, 3.0, 4.5), 7), Detection(0, 0.25, (0.0, 0.0, 8.0, 8.0))),
        ResultFlag.TRACKED,
        3,
    )
    found = [
        {
            "box": list(one.box),
            "confidence": one.confidence,
            "classId": one.class_id,
            "track": one.track,
        }
        for one in result.detections
    ]
    said: list[tuple[Role, messages.Message, dict[str, Any]]] = [
        (CLIENT, Hello(options), {"kind": "hello", "options": json.loads(options.to_json())}),
        (SERVER, Welcome(offer), {"kind": "welcome", **json.loads(offer.to_json())}),
        (
            CLIENT,
            Frame(7, 123456789012, Encoding.JPEG, b"\1\2\3"),
            {
                "kind": "frame",
                "sequence": 7,
                "captured": 123456789012,
                "payload": "010203",
                "encoding": 1,
            },
        ),
        *((CLIENT, *jpeg(sequence)) for sequence in (8, 9, 10)),
        (
            CLIENT,
            Frame(2**40 + 1, 1, Encoding.H264, b"\0\0\0\1\x65"),
            {
                "kind": "frame",
                "sequence": 2**40 + 1,
                "captured": 1,
                "payload": "0000000165",
                "encoding": 5,
            },
        ),
        (CLIENT, Ping(77), {"kind": "ping", "sent": 77}),
        (
            SERVER,
            result,
            {
                "kind": "result",
                "flags": 4,
                "width": 640,
                "height": 480,
                "sequence": 2**40 + 1,
                "received": 10**12,
                "sent": 10**12 + 90,
                "decode": 20,
                "queue": 30,
                "inference": 35,
                "post": 5,
                "batch": 2,
                "revision": 3,
                "detections": found,
            },
        ),
        (SERVER, Dropped((7, 8)), {"kind": "dropped", "reason": 1, "sequences": [7, 8]}),
        (
            SERVER,
            FrameFailed(9, FrameErrorCode.NEEDS_KEYFRAME, "später"),
            {"kind": "failed", "code": 6, "sequence": 9, "reason": "später"},
        ),
        (
            SERVER,
            Model(4, replace(model, version="2", labels=("wheel",))),
            {
                "kind": "model",
                "revision": 4,
                "model": {**asdict(model), "version": "2", "labels": ["wheel"]},
            },
        ),
        (SERVER, Pong(1, 2, 3), {"kind": "pong", "sent": 1, "received": 2, "answered": 3}),
        (
            SERVER,
            GoAway(20000, "spot"),
            {"kind": "goaway", "deadline": 20000, "reason": "spot"},
        ),
        (
            SERVER,
            Close(CloseCode.WRONG_TOKEN, "no"),
            {"kind": "close", "code": 4003, "reason": "no"},
        ),
    ]
    ends = {role: StreamProtocol(role, framing=Whole()) for role in Role}
    lines = []
    for speaker, message, meaning in said:
        ends[speaker].send(message)
        (data,) = ends[speaker].data_to_send()
        listener = ends[SERVER if speaker is CLIENT else CLIENT]
        listener.receive_data(data)
        assert list(listener.events()) == [message]
        lines.append({"from": speaker.value, "hex": data.hex(), "meaning": meaning})
    return lines


def jpeg(sequence: int) -> tuple[Frame, dict[str, Any]]:
    meaning = {"kind": "frame", "sequence": sequence, "captured": 2, "payload": "ff", "encoding": 1}
    return Frame(sequence, 2, Encoding.JPEG, b"\xff"), meaning


def yolo_case() -> dict[str, Any]:
    """Logits of two heads and the boxes that runtime.inference makes of them."""
    random = np.random.default_rng(3)
    anchors = [[(81.0, 82.0), (135.0, 169.0)], [(10.0, 14.0), (23.0, 27.0)]]
    raw = [
        random.normal(-1, 1.5, (2 * 8, side, side)).round(3).astype(np.float32) for side in (3, 6)
    ]
    letterbox = Letterbox.fit(source=(640, 400), target=(96, 96))
    found = decode_darknet(raw, anchors=anchors, size=(96, 96), confidence=0.3)
    boxes = suppress(found, iou=0.45).in_source(letterbox)
    assert len(boxes.confidence) > 3
    return {
        "heads": [{"data": head.ravel().tolist(), "dims": [1, *head.shape]} for head in raw],
        "anchors": anchors,
        "input": {"width": 96, "height": 96},
        "source": {"width": 640, "height": 400},
        "boxes": [
            {"box": box, "confidence": confidence, "class_id": class_id}
            for box, confidence, class_id in zip(
                boxes.xyxy.tolist(),
                boxes.confidence.tolist(),
                boxes.class_id.tolist(),
                strict=True,
            )
        ],
    }


def test_the_recorded_conversation_is_what_python_says_today() -> None:
    assert json.loads(CONVERSATION.read_text(encoding="utf-8")) == conversation()
    assert {bytes.fromhex(one["hex"])[0] for one in conversation()} == set(Kind)


def facts() -> dict[str, Any]:
    """Numbers that the page writes again, as Python has them."""
    return {
        "codes": [(code, code in RETRYABLE) for code in CloseCode],
        "encodings": {one.name: one for one in Encoding},
        "flags": {one.name: one for one in ResultFlag},
        "needsKeyframe": FrameErrorCode.NEEDS_KEYFRAME,
        "boxes": [DETECT_CONFIDENCE, DETECT_IOU],
    }


def test_the_pages_modules_in_node() -> None:
    page = Path(serving.__file__).parent.as_uri() + "/"
    done = subprocess.run(
        ["node", "--experimental-default-type=module", "--test", str(HERE / "page.test.mjs")],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PAGE": page,
            "YOLO": json.dumps(yolo_case()),
            "FACTS": json.dumps(facts()),
        },
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


if __name__ == "__main__":
    CONVERSATION.write_text(
        json.dumps(conversation(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
