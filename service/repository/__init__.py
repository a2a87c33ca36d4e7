"""The model repository on disk: the contract between training, which publishes, and the service, which serves.

Imports neither litestar nor onnxruntime. One noun a file: datatypes, signature, manifest, samples, configuration, layout.
"""
