"""`python -m training.export.worker DIRECTORY`: convert the graph that bounded.py has put there."""

import sys
from pathlib import Path

import msgspec
import onnx
import tensorflow as tf

from training.errors import ExportFailed
from training.export.conversion import Job, convert


def main(directory: Path) -> None:
    """Read `graph.pb` and `job.json`; write `model.onnx`, or `problem.txt` with what is wrong."""
    graph = tf.compat.v1.GraphDef.FromString((directory / "graph.pb").read_bytes())
    job = msgspec.json.decode((directory / "job.json").read_bytes(), type=Job)
    try:
        onnx.save_model(convert(graph, job), directory / "model.onnx")
    except ExportFailed as error:
        (directory / "problem.txt").write_text(error.reason, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
