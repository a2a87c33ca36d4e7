import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from service.repository.baseline import profile
from service.repository.manifest import Parity
from service.repository.signature import Signature, TensorSpec
from training.evaluation import evaluate, require_accepted
from training.spec.acceptance import Acceptance

pytest.importorskip("matplotlib", reason="needs the train extra")

from training.report import Answer, Layer, ReportFacts, describe_layers, write_report
from training.report.drawing import draw
from training.report.figures import as_svg, figure, in_our_style
from training.report.stages import boxes, ranks

LABELS = ("red", "green & <b>blue</b>", "grey")


class Epoch(msgspec.Struct, frozen=True):
    """As a fit reports it."""

    metrics: dict[str, float]
    seconds: float = 0.5
    learning_rate: float = 0.001


class History(msgspec.Struct, frozen=True):
    """As a fit reports it."""

    epochs: tuple[Epoch, ...]
    stopped_early: bool = True
    best_epoch: int | None = 2
    resumed_from: int | None = None


class Layout(HTMLParser):
    """Collects which elements there are, whether each is closed, and what is loaded from elsewhere."""

    VOID = frozenset({"meta", "img", "br", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: D102 -- HTMLParser's
        self.loaded += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"} and value and value[0] != "#"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: D102 -- HTMLParser's
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:  # noqa: D102 -- HTMLParser's
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:  # noqa: D102 -- HTMLParser's
        if self.open[-1:] == ["h2"]:
            self.headings.append(data)


LAYERS = (
    Layer(name="in", kind="InputLayer", detail="age", shape="2"),
    Layer(name="a", kind="Dense", detail="8, relu", shape="8", parameters=24, inputs=("in",)),
    Layer(name="b", kind="Dense", detail="8, tanh", shape="8", parameters=24, inputs=("in",)),
    Layer(name="join", kind="Concatenate", shape="18", inputs=("a", "b", "in")),
    Layer(name="out", kind="Dense", detail="3, softmax", shape="3", parameters=57, inputs=("join",)),
)


def facts(task: Any, outputs: np.ndarray, targets: np.ndarray, acceptance: Acceptance, **changes: Any) -> ReportFacts:
    inputs = {
        "person": np.random.default_rng(7).normal(size=(len(targets), 2)),
        "sex": np.array(["m", "f"] * (len(targets) // 2), object),
    }
    features = ("age <years>", "height")
    labels = LABELS if task == "classification" else ("price",)
    evaluation = evaluate(
        task, outputs, targets, seed=7, labels=labels, units=() if task == "classification" else ("EUR",), inputs=inputs,
        features={"person": features},
    )  # fmt: skip
    signature = Signature(
        inputs=(TensorSpec("person", "FP32", (-1, 2), features=features), TensorSpec("sex", "BYTES", (-1,))),
        outputs=(TensorSpec("answer", "FP32", (-1, *outputs.shape[1:]), labels=labels),),
    )
    known = ReportFacts(
        name="colours",
        description="Says <what> it is.",
        created="2026-11-22T22:40:22+00:00",
        command="axon train colours.toml",
        spec_text='name = "colours"\nloss = "mse"',
        seed=7,
        opset=18,
        dataset={"name": "colours", "rows": 150, "sha256": "abc123", "splits": {"train": 100, "test": 50}},
        tools={"keras": "3.15.1"},
        signature=signature,
        layers=LAYERS,
        parameters=105,
        history=History(tuple(Epoch({"loss": 1 / n, "val_loss": 1.1 / n, "accuracy": 1 - 1 / n}) for n in (1, 2, 3))),
        answers=(Answer("answer", evaluation, outputs, targets),),
        verdict=require_accepted({"answer": evaluation}, {"answer": acceptance}, force=True),
        baseline=profile(inputs, {"answer": outputs}),
        graph_bytes=2048,
        parity=Parity(tolerance=1e-5, max_abs_error=2.4e-7, batch_sizes=(1, 7)),
        seconds={"fit": 1.5},
        latency={1: 0.02},
    )
    return msgspec.structs.replace(known, **changes)


def classification(acceptance: Acceptance | None = None, **changes: Any) -> ReportFacts:
    targets = np.arange(60) % 3
    outputs = np.full((60, 3), 0.1)
    outputs[np.arange(60), np.where(np.arange(60) < 50, targets, (targets + 1) % 3)] = 0.8
    return facts("classification", outputs, targets, acceptance or Acceptance(accuracy=0.5), **changes)


def regression() -> ReportFacts:
    actual = np.linspace(0, 100, 60)
    return facts("regression", (actual + np.sin(actual) * 5)[:, None], actual, Acceptance(rmse=10))


def read(report: ReportFacts, directory: Path) -> str:
    write_report(report, directory)
    return (directory / "report.html").read_text(encoding="utf-8")


def laid_out(text: str) -> Layout:
    layout = Layout()
    layout.feed(text.replace("<!doctype html>", ""))
    layout.close()
    assert layout.open == []
    return layout


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Report of a classifier."""
    return read(classification(), tmp_path_factory.mktemp("report"))


def test_report_is_whole_and_in_order(page: str) -> None:
    assert laid_out(page).headings == [
        "Metrics", "Mistakes by label", "Calibration", "Where it is weak", "Fit", "Architecture", "Training data", "What is served",
        "How to reproduce",
    ]  # fmt: skip


def test_report_opens_offline(page: str) -> None:
    assert all(address.startswith("data:") for address in laid_out(page).loaded)
    assert "<script" not in page
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_report_is_small(page: str) -> None:
    assert len(page.encode()) < 150_000


def test_text_from_outside_is_escaped(page: str) -> None:
    assert "Says &lt;what&gt; it is." in page
    assert "<b>blue</b>" not in page
    assert "age &lt;years&gt;" in page


def test_summary_says_it_in_words(page: str) -> None:
    plain = page.replace("\N{NO-BREAK SPACE}", " ")

    assert "Of 60 test rows, which the fit never saw, it labels 83.3 % (95 % interval" in plain
    assert "It passed the gate: accuracy 0.8333, at least 0.5 demanded." in plain
    assert "the largest difference is 2.4e-07, at most 1e-05 is allowed" in plain


def test_forced_model_says_so_at_the_top(tmp_path: Path) -> None:
    text = read(classification(Acceptance(accuracy=0.99)), tmp_path)

    assert "did not pass the gate and was published by force: test accuracy is 0.8333, expected at least 0.99" in text
    assert 'class="summary missed"' in text


def test_how_to_reproduce_is_complete(page: str) -> None:
    for told in ("axon train colours.toml", "abc123", "100 train, 50 test", "3.15.1", "name = &quot;colours&quot;"):
        assert told in page


def test_plots_take_their_colours_from_the_page(page: str) -> None:
    """Else they would be dark on dark for a reader with a dark theme."""
    svg = "".join(re.findall(r"<svg[^>]*class=\"plot\".*?</svg>", page, flags=re.DOTALL))

    assert "var(--accent)" in svg
    assert set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", svg)) == set()


def test_same_facts_give_the_same_report(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    assert read(classification(), tmp_path / "a") == read(classification(), tmp_path / "b")


def test_regression_is_told_in_its_unit(tmp_path: Path) -> None:
    text = read(regression(), tmp_path)

    assert "EUR on average" in text
    assert "Mean absolute error (EUR)" in text
    assert "Errors" in laid_out(text).headings
    assert "predicted − actual (EUR)" in text  # noqa: RUF001 -- a minus sign


def test_reconstruction_has_a_report(tmp_path: Path) -> None:
    originals = np.random.default_rng(7).normal(size=(60, 2))
    report = facts("reconstruction", originals + 0.1, originals, Acceptance(rmse=1))

    assert "Reconstruction errors" in laid_out(read(report, tmp_path)).headings


def test_many_labels_are_drawn_instead_of_tabled(tmp_path: Path) -> None:
    outputs = np.eye(30)[np.arange(60) % 30]
    labels = tuple(f"label {index}" for index in range(30))
    targets = np.arange(60) % 30
    evaluation = evaluate("classification", outputs, targets, labels=labels, seed=7)

    text = read(classification(answers=(Answer("answer", evaluation, outputs, targets),)), tmp_path)

    laid_out(text)
    assert 'class="confusion"' not in text
    assert "data:image/png;base64" in text


def test_report_without_epochs_parity_and_slices_is_whole(tmp_path: Path) -> None:
    bare = {"parity": None, "history": History((), best_epoch=None), "seconds": {}, "latency": {}, "layers": ()}

    assert "Fit" not in laid_out(read(classification(**bare), tmp_path)).headings


def test_pictures_are_written_on_request(tmp_path: Path) -> None:
    written = write_report(classification(), tmp_path, pictures=True)

    assert [path.name for path in written] == ["report.html", "report-curves.png", "report-confusion.png", "report-calibration.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written[1:])


def test_layers_are_drawn_below_what_they_read_from() -> None:
    assert [[layer.name for layer in row] for row in ranks(LAYERS)] == [["in"], ["a", "b"], ["join"], ["out"]]


def test_every_connection_is_drawn() -> None:
    assert draw(LAYERS).count('class="edge"') == 6


def test_deep_network_is_drawn_in_stages() -> None:
    kinds = ("Conv2D", "BatchNormalization", "Activation")
    deep = tuple(
        Layer(name=str(n), kind=kinds[n % 3], shape=f"{64 >> n // 30}", parameters=10, inputs=(str(n - 1),) if n else ())
        for n in range(90)
    )

    found = boxes(deep)

    assert [(box.kind, box.shape, box.parameters) for box in found] == [("30 layers", size, 300) for size in ("64", "32", "16")]
    assert found[0].detail == "10 Conv2D, 10 BatchNormalization, 10 Activation"


@pytest.mark.training
def test_keras_layers_are_described() -> None:
    import keras  # noqa: PLC0415 -- TensorFlow is loaded only by the tests that need it

    image = keras.Input((8, 8, 1), name="image")
    values = keras.layers.Conv2D(4, 3, strides=2, activation="relu", name="conv")(image)
    skip = keras.layers.Conv2D(4, 1, name="skip")(values)
    values = keras.layers.Add(name="add")([values, skip])
    model = keras.Model(image, keras.layers.Dense(2, activation="softmax", name="out")(keras.layers.Flatten(name="flat")(values)))

    told = {layer.name: (layer.kind, layer.detail, layer.shape, layer.parameters, layer.inputs) for layer in describe_layers(model)}

    assert told == {
        "image": ("InputLayer", "image", "8×8×1", 0, ()),  # noqa: RUF001 -- a multiplication sign
        "conv": ("Conv2D", "4 filters, 3×3, stride 2×2, relu", "3×3×4", 40, ("image",)),  # noqa: RUF001
        "skip": ("Conv2D", "4 filters", "3×3×4", 20, ("conv",)),  # noqa: RUF001
        "add": ("Add", "", "3×3×4", 0, ("conv", "skip")),  # noqa: RUF001
        "flat": ("Flatten", "", "36", 0, ("add",)),
        "out": ("Dense", "2, softmax", "2", 74, ("flat",)),
    }


def test_shortened_plot_keeps_every_tick_and_refers_to_nothing_that_is_gone() -> None:
    with in_our_style():
        drawn, (panel,) = figure(1)
        panel.plot([0, 1], [0.125, 0.375])
        panel.set_yticks([0.125, 0.25, 0.375])
        text = as_svg(drawn)

    assert [tick for tick in ("0.125", "0.250", "0.375") if f">{tick}</text>" in text] == ["0.125", "0.250", "0.375"]
    assert set(re.findall(r'(?:url\(|href=")#([\w-]+)', text)) <= set(re.findall(r'id="([^"]*)"', text))
    assert len(text) < 10_000
