"""Many clients at once, against a model that takes its time."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Self

import pytest

pytestmark = pytest.mark.anyio

CLIENTS = 64
REQUESTS = 4


class Client:
    """A connection of its own, with as little between test and socket as can be: 64 of them must be faster than the model."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(*self._address)
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def request(self, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
        """Send a request and return status and JSON of the answer."""
        head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        status, *headers = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        (length,) = (int(header.split(":")[1]) for header in headers if header.startswith("content-length:"))
        return int(status.split()[1]), json.loads(await self._reader.readexactly(length))

    async def infer(self, model: str, datatype: str, row: Sequence[float]) -> tuple[int, Any]:
        """Send one row and return the status, and the row of the answer if it is one."""
        tensor = {"name": "x", "shape": [1, len(row)], "datatype": datatype, "data": row}
        status, answer = await self.request("POST", f"/v2/models/{model}/infer", json.dumps({"inputs": [tensor]}).encode())
        return status, answer["outputs"][0]["data"] if status == 200 else answer


async def echoed(server: Any, *rows: list[float]) -> list[list[float]]:
    """Send rows one after another to the slow model, which gives back what it gets."""
    async with Client(server.address) as client:
        answers = [await client.infer("slow", "FP32", row) for row in rows]
    assert {status for status, _answer in answers} == {200}, answers
    return [answer for _status, answer in answers]


async def test_everyone_gets_their_own_rows_and_runs_are_shared(server: Any) -> None:
    rows = [[[number, request, 1, -1] for request in range(REQUESTS)] for number in range(CLIENTS)]
    rows_before = server.metric("axon_inference_rows_total", model="slow")
    runs_before = server.metric("axon_inference_runs_total", model="slow")

    answers = await asyncio.gather(*(echoed(server, *own) for own in rows))

    assert answers == rows
    rows_run = server.metric("axon_inference_rows_total", model="slow") - rows_before
    runs = server.metric("axon_inference_runs_total", model="slow") - runs_before
    assert rows_run == CLIENTS * REQUESTS
    assert rows_run / runs > 4


async def test_clients_who_leave_harm_no_other(server: Any) -> None:
    """Half of them leave as soon as the first answer is there, when most others wait in the queue or run."""
    cancelled_before = server.metric("axon_inference_requests_total", model="slow", outcome="cancelled")
    clients = [asyncio.create_task(echoed(server, [number, 0, 1, 2])) for number in range(CLIENTS)]
    await asyncio.wait(clients, return_when=asyncio.FIRST_COMPLETED)
    for client in clients[1::2]:
        client.cancel()

    staying = await asyncio.gather(*clients[::2])
    leaving = await asyncio.gather(*clients[1::2], return_exceptions=True)

    assert staying == [[[number, 0, 1, 2]] for number in range(0, CLIENTS, 2)]
    assert any(isinstance(outcome, asyncio.CancelledError) for outcome in leaving)
    assert await echoed(server, [7, 7, 7, 7]) == [[7, 7, 7, 7]]
    assert server.metric("axon_inference_requests_total", model="slow", outcome="cancelled") > cancelled_before
    assert server.metric("axon_inference_pending_rows", model="slow") == 0
    assert "Traceback" not in server.log


async def test_poisoned_request_fails_alone(server: Any) -> None:
    async def looked_up(index: int) -> tuple[int, Any]:
        async with Client(server.address) as client:
            return await client.infer("lookup", "INT64", [index])

    indices = [99 if number % 8 == 0 else number % 4 for number in range(CLIENTS)]

    answers = await asyncio.gather(*(looked_up(index) for index in indices))

    for index, (status, answer) in zip(indices, answers, strict=True):
        if index == 99:
            assert status == 500
            assert answer["code"] == "model_failed"
        else:
            assert (status, answer) == (200, [10 * index])


async def test_health_answers_while_the_model_works(server: Any) -> None:
    working = [asyncio.create_task(echoed(server, [number, 0, 0, 0])) for number in range(CLIENTS)]
    await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
    async with Client(server.address) as client:
        status, answer = await client.request("GET", "/v2/health/ready")

    assert (status, answer) == (200, {"ready": True})
    await asyncio.gather(*working)
