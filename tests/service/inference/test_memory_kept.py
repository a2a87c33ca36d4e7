import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
USE = """
import resource, sys
from service.inference.memory import keep_memory
if sys.argv[1] == "keep":
    keep_memory()
bytes(1 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    blocks = [bytearray(100_000) for _ in range(40)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode: str) -> int:
    command = [sys.executable, "-c", USE, mode]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT)})
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is told what to keep")
def test_memory_of_a_request_is_kept_for_the_next() -> None:
    """50 times 4 MB: the pages are asked for once, and not each time."""
    assert page_faults("keep") < 3000 < page_faults("as it is")
