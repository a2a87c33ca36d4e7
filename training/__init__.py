"""The offline training job: a TOML spec in, a verified package out. May import service.repository, nothing else of service."""

import service  # noqa: F401 -- before onnxruntime: see there
