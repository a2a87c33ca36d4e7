"""Shared by the tests of what is seen from outside: an OTLP receiver, as a collector is one."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

DEADLINE = 30.0


class Collector:
    """Takes spans over OTLP/HTTP and keeps them."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self.resources: list[Any] = []
        self._spans: list[Any] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            """Parses what is posted."""

            def do_POST(self) -> None:
                """Take spans."""
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.take(self.path, ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def take(self, path: str, message: Any) -> None:
        """Keep the spans of a message."""
        assert path == "/v1/traces"
        with self._news:
            for part in message.resource_spans:
                self.resources.append(part.resource)
                self._spans.extend(span for scope in part.scope_spans for span in scope.spans)
            self._news.notify_all()

    def spans(self, count: int) -> list[Any]:
        """Wait until there are so many spans, and give all."""
        with self._news:
            assert self._news.wait_for(lambda: len(self._spans) >= count, DEADLINE), f"{len(self._spans)} of {count} spans came"
            return list(self._spans)

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Run a receiver."""
    collector = Collector()
    yield collector
    collector.close()
