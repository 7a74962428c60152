"""What runs in the cloud. Each folder is packaged on its own.

Nothing of it reports home. ONNX Runtime tells Microsoft the names and hashes of models, and
OpenVINO tells Google Analytics that it was imported, unless they are kept from it before that:
https://github.com/microsoft/onnxruntime/pull/27379, `openvino.tools.ovc.telemetry_utils`.
"""

import os
import sys

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# OpenVINO has no such variable; where this package cannot be imported it takes a stub of its own.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
