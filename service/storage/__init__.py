"""Model repositories in object stores: S3, Google Cloud Storage, Azure, HTTP. Only store.py knows the library that reaches them."""
