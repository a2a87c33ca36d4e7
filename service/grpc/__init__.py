"""The Open Inference Protocol over gRPC: the same registry and batchers as under HTTP, in the same event loop."""
