"""A Keras model, or a SavedModel -> `model.onnx`, with the declared names, a dynamic batch axis and the wanted operator set.

program.py     what is exported: a function of named tensors
refusals.py    layers that cannot be exported, refused before anything is trained
tracing.py     the program -> a frozen TensorFlow graph; large weights stay outside it
conversion.py  the frozen graph -> ONNX, in a process of its own if it is large (bounded.py, worker.py)
weights.py     the weights back in, or beside the graph as external data
checking.py    the graph must be what was declared
"""

from training.export.exporter import export, export_program
from training.export.program import Program, program_of
from training.export.refusals import refuse_unexportable

__all__ = ["Program", "export", "export_program", "program_of", "refuse_unexportable"]
