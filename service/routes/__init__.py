"""HTTP transport only: each handler looks up, decodes, awaits the model, encodes."""
