"""HTTP/1.1 on connections of our own: what a client may take, how a request comes, and how its answer goes."""
