"""Which scope a request needs, by its method and path alone."""

import pytest

from service.routes.protection import needed_scope


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/v2/models/a/infer", "infer"),
        ("POST", "/v2/models/a/versions/1/infer", "infer"),
        ("POST", "/v1/models/a:predict", "infer"),
        ("POST", "/v1/models/a/versions/1:classify", "infer"),
        ("POST", "/models/a/predict", "infer"),
        ("GET", "/v2", "read"),
        ("GET", "/v1/models/a", "read"),
        ("GET", "/v2/models/a/stats", "read"),
        ("HEAD", "/metrics", "read"),
        ("GET", "", "read"),
        ("POST", "/v2/repository/index", "read"),
        ("GET", "/v2/repository/models/a/load", "manage"),
        ("POST", "/v2/repository/models/a/unload", "manage"),
        ("POST", "/v2/repository", "manage"),
        ("POST", "/v2//repository/models/a/unload", "manage"),
        ("POST", "//v2/models/a/infer", "manage"),
        ("POST", "/v2/modelsx", "manage"),
        ("POST", "/v2/logging", "manage"),
        ("PUT", "/v2/models/a", "manage"),
        ("DELETE", "/v1/models/a", "manage"),
        ("", "/v2", "manage"),
    ],
)
def test_scope_follows_from_method_and_path(method: str, path: str, scope: str) -> None:
    assert needed_scope(method, path) == scope
