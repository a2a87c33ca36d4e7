"""Wire formats: bytes in, tensors out, and back. One format a file; pure, without any web framework."""
