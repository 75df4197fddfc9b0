"""A client waits as long as it was told, and no longer."""

import threading

import pytest
import zmq
from roam.viewer.client.client import Client
from roam.viewer.wire import protocol as p

from ..wire.examples import EXAMPLES


@pytest.fixture
def mute():
    """The address of a server that welcomes a client, answers pings, and sends nothing else."""
    context, over = zmq.Context(), threading.Event()
    router = context.socket(zmq.ROUTER)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    welcome = next(one for one in EXAMPLES if isinstance(one, p.Welcome))

    def welcomes() -> None:
        while not over.is_set():
            if router.poll(50):
                who, *parts = router.recv_multipart()
                said = p.unpack(parts, p.CLIENT_MESSAGES)[0]
                if isinstance(said, p.Hello | p.Ping):
                    router.send_multipart([who, *p.pack(welcome if isinstance(said, p.Hello) else p.Pong())])
        router.close(0)
        context.term()

    thread = threading.Thread(target=welcomes)
    thread.start()
    yield f"tcp://127.0.0.1:{port}"
    over.set()
    thread.join()


def test_an_answer_that_does_not_come_is_waited_for_as_long_as_the_client_says(mute):
    found = []

    def ask() -> None:
        with Client(mute, timeout_s=60) as client:
            client.timeout_s = 0.3
            try:
                client.stats()
            except TimeoutError as error:
                found.append(str(error))

    asking = threading.Thread(target=ask, daemon=True)  # one that waited for ever would block the tests
    asking.start()
    asking.join(60)
    assert found == ["no answer to 'stats' within 0.3 s"]
