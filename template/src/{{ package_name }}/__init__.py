"""Plan, train, evaluate, serve and monitor one model; start with `ml --help`."""

import os

from .engine import threads

# Nothing leaves this machine. Libraries read this while they are imported, hence here, before any.
# onnxruntime from 1.29 on would write a device id below the home folder and look for its host.
os.environ |= {
    "ORT_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
threads.limit_libraries()
