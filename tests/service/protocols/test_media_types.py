import pytest

from service.protocols.media_types import best, media_type

OFFERED = ("application/json", "application/x-npy", "text/plain")


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        pytest.param(None, "application/json", id="no header"),
        pytest.param(" ", "application/json", id="empty"),
        pytest.param("*/*", "application/json", id="anything"),
        pytest.param("application/x-npy", "application/x-npy", id="one"),
        pytest.param("Application/X-NPY; Q=0.5", "application/x-npy", id="capitals"),
        pytest.param("application/*", "application/json", id="a group: the first of it"),
        pytest.param("text/*", "text/plain", id="another group"),
        pytest.param("text/plain;q=0.2, application/x-npy;q=0.8", "application/x-npy", id="by weight"),
        pytest.param("text/html, */*;q=0.1", "application/json", id="anything as a last resort"),
        pytest.param("application/json;q=0, */*", "application/x-npy", id="anything but"),
        pytest.param("text/plain;format=flowed;q=0.3", "text/plain", id="other parameters"),
        pytest.param("text/html", None, id="nothing that there is"),
        pytest.param("application/json;q=0", None, id="nothing at all"),
        pytest.param("application/json;q=high", None, id="weight that is none"),
        pytest.param("nonsense", None, id="nonsense"),
    ],
)
def test_best_type_is_chosen(accept: str | None, kind: str | None) -> None:
    assert best(accept, OFFERED) == kind


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [(None, ""), ("", ""), ("image/PNG", "image/png"), ("application/json; charset=utf-8", "application/json")],
)
def test_type_of_a_body_is_its_content_type_without_parameters(content_type: str | None, kind: str) -> None:
    assert media_type(content_type) == kind
