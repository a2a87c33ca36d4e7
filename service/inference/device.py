"""Runs whose tensors live on a device: inputs go over from page-locked memory that is used again, outputs come back in one copy.

onnxruntime would otherwise allocate and copy on both sides of every run, from memory that the system may move. On the CPU there is
nothing to copy to, and binding costs more than it saves.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

Array = np.ndarray[Any, Any]


class DeviceRunner:
    """Runs one session with its tensors bound to a device. One call at a time.

    `device` is onnxruntime's name of its kind, `number` which one of them. `pinned` says that the buffers of the inputs are
    page-locked; where the provider offers no such memory, they are ordinary.
    """

    def __init__(self, session: ort.InferenceSession, *, provider: str, device: str, number: int) -> None:
        self._session = session
        self._device = device
        self._number = number
        self._memory = _page_locked(provider, number)
        self._binding = session.io_binding()
        self._buffers: dict[str, ort.OrtValue] = {}

    @property
    def pinned(self) -> bool:
        """Whether the buffers are page-locked."""
        return self._memory is not None

    def run(self, output_names: Sequence[str], inputs: dict[str, Array], options: ort.RunOptions | None = None) -> list[Array]:
        """Run the graph. The outputs are the caller's own."""
        for name, array in inputs.items():
            pointer = self._filled(name, array)
            self._binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, pointer)
        for name in output_names:
            self._binding.bind_output(name, self._device, self._number)
        self._session.run_with_iobinding(self._binding, options)
        outputs: list[Array] = self._binding.copy_outputs_to_cpu()
        self._binding.clear_binding_outputs()
        return outputs

    def _filled(self, name: str, array: Array) -> int:
        """Copy an input into its buffer, a larger one if need be, and return the address."""
        buffer = self._buffers.get(name)
        if buffer is None or buffer.tensor_size_in_bytes() < array.nbytes:
            buffer = self._buffers[name] = self._allocated(max(1, array.nbytes))
        view = buffer.numpy()[: array.nbytes].view(array.dtype).reshape(array.shape)
        np.copyto(view, array)
        return int(buffer.data_ptr())

    def _allocated(self, size: int) -> ort.OrtValue:
        if self._memory is not None:
            try:
                return ort.OrtValue.ortvalue_from_shape_and_type((size,), np.uint8, memory_info=self._memory)
            except Exception:  # noqa: BLE001 -- onnxruntime's exceptions have no common base; ordinary memory serves as well
                self._memory = None
        return ort.OrtValue.ortvalue_from_shape_and_type((size,), np.uint8)


def _page_locked(provider: str, number: int) -> ort.OrtMemoryInfo | None:
    """Return the memory of the host that a device reads directly, if its provider tells of one."""
    devices = [device for device in ort.get_ep_devices() if device.ep_name == provider]
    if number >= len(devices):
        return None
    return devices[number].memory_info(ort.OrtDeviceMemoryType.HOST_ACCESSIBLE)
