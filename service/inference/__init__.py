"""From validated tensors to answers, in any protocol: served model, validation, batcher, batch, session, threads, warm-up."""
