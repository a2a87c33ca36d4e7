"""What changed between two versions, as lines for a person."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from service.errors import PackageError
from service.repository.description import flattened, readable_size
from service.repository.maintenance import Version
from service.repository.manifest import Manifest
from service.repository.metrics import improvement


def differences(before: Version, after: Version) -> Iterator[str]:
    """Yield the differences of metrics, signature, spec, dataset, tools and files. Raises PackageError for a bare graph."""
    yield f"{before.reference} -> {after.reference}"
    old, new = _manifest(before), _manifest(after)
    parts = {
        "Test metrics": _metrics(old.metrics.get("test", {}), new.metrics.get("test", {})),
        "Signature": _changes(msgspec.to_builtins(old.signature), msgspec.to_builtins(new.signature)),
        "Spec": _changes(old.spec | {"opset": old.opset}, new.spec | {"opset": new.opset}),
        "Dataset": _changes(old.dataset, new.dataset),
        "Tools": _changes(old.tools, new.tools),
        "Files": _files(old, new),
    }
    for title, lines in parts.items():
        found = list(lines)
        yield ""
        yield title if found else f"{title}: the same"
        yield from (f"  {line}" for line in found)


def _metrics(old: Mapping[str, float], new: Mapping[str, float]) -> Iterator[str]:
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in new or name not in old:
            yield f"{name}: {_shown(old.get(name))} -> {_shown(new.get(name))}"
        elif gain := improvement(name, old[name], new[name]):
            yield f"{name}: {old[name]:.6g} -> {new[name]:.6g} ({'better' if gain > 0 else 'worse'} by {abs(gain):.3g})"


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    was, now = flattened(old), flattened(new)
    for key in [*was, *(key for key in now if key not in was)]:
        if was.get(key) != now.get(key):
            yield f"{key}: {_shown(was.get(key))} -> {_shown(now.get(key))}"


def _files(old: Manifest, new: Manifest) -> Iterator[str]:
    for name in sorted({*old.files, *new.files}):
        was, now = old.files.get(name), new.files.get(name)
        if was != now:
            sizes = [readable_size(file.size) if file else "none" for file in (was, now)]
            yield f"{name}: {sizes[0]} -> {sizes[1]}" + (", other content" if sizes[0] == sizes[1] else "")


def _manifest(version: Version) -> Manifest:
    if version.manifest is None:
        raise PackageError(
            f"{version.reference} is a bare graph without a manifest, so there is nothing to compare. Publish it first."
        )
    return version.manifest


def _shown(value: Any) -> str:  # noqa: ANN401 -- what stands in JSON
    if value is None:
        return "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
