"""KServe's own REST client against a server: `kserve_client.py URL`, with an interpreter that has kserve.

Ends with status 0 if every answer is as it should be.
"""

import asyncio
import sys
from typing import Any

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

ROWS = np.array([[1, 2, 3, 4], [0, 0, 0, 10]], np.float32)
EXPECTED = ROWS @ (np.arange(12, dtype=np.float32).reshape(4, 3) / 10)


async def inferred(client: Any, url: str, *, binary: bool) -> None:
    """Send rows in one form and compare the answer."""
    tensor = InferInput("x", list(ROWS.shape), "FP32")
    tensor.set_data_from_numpy(ROWS, binary_data=binary)
    parameters = {"binary_data_output": True} if binary else {}
    request = InferRequest("affine", [tensor], request_id="7", parameters=parameters)
    headers: dict[str, str] = {}

    answer = await client.infer(url, request, model_name="affine", response_headers=headers)

    np.testing.assert_allclose(answer.outputs[0].as_numpy().reshape(2, 3), EXPECTED, rtol=1e-6)
    assert (answer.id, answer.model_name) == ("7", "affine"), (answer.id, answer.model_name)
    assert headers["x-request-id"]


async def main(url: str) -> None:
    """Ask what the client can ask."""
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    assert await client.is_server_live(url)
    assert await client.is_server_ready(url)
    assert await client.is_model_ready(url, "affine")
    for binary in (False, True):
        await inferred(client, url, binary=binary)
    await client.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
