"""What Keras and TensorFlow say when a model fails, without the pages around it: one line for the person at the terminal."""

import re
from typing import Final

# Around the reason stand the layer that was called and its arguments; of a graph, its nodes and a stack of which nothing is known.
_AROUND: Final = ("Exception encountered", "Arguments received", "•", "Graph execution error", "Detected at node", "<stack", "[[")
_MARKS: Final = re.compile(r"\x1b\[[0-9;]*m|\{\{[^}]*\}\}|\[Op:[^\]]*\]")


def reason_of(error: BaseException) -> str:
    """Return the kind of an error and the line of its message that says what is wrong."""
    lines = (_MARKS.sub("", line).strip() for line in str(error).splitlines())
    told = next((line for line in lines if line and not line.startswith(_AROUND)), "")
    return f"{type(error).__name__}: {told.rstrip('.')}" if told else type(error).__name__
