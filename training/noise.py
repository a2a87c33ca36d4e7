"""Keep TensorFlow's start-up notices off the terminal, and nothing else."""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_STDERR: Final = 2
# Written by TensorFlow's C++ while it loads, before any log level applies. GPU builds on a machine without one add two lines.
_NOTICES: Final = re.compile(
    r"oneDNN custom operations are on|cpu_feature_guard|TF_ENABLE_ONEDNN_OPTS|To enable the following instructions"
    r"|Could not find cuda drivers|Unable to register cu\w+ factory|computation_placer|absl::InitializeLog|port\.cc"
)


@contextmanager
def without_startup_notices() -> Iterator[None]:
    """Hold back what is written to the process's stderr in the block, then pass on every line that is not a known notice."""
    sys.stderr.flush()
    saved = os.dup(_STDERR)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), _STDERR)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(saved, _STDERR)
            os.close(saved)
            held.seek(0)
            text = held.read().decode(errors="replace")
            for line in text.splitlines():
                if line and not _NOTICES.search(line):
                    print(line, file=sys.stderr)  # noqa: T201 -- it was meant for stderr
