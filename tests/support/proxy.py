"""A TCP proxy that does to every few exchanges what a bad network does, by a seeded schedule."""

import random
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

KINDS = ("refuse", "lose", "cut", "delay")
"""Close before the request is passed on; pass it on and lose its answer; cut the answer after some bytes; delay it."""


class Proxy:
    """Between a client and `port`; its own port is `self.port`.

    Arguments:
        seed: of the schedule: which exchange meets what.
        share: of the exchanges that meet a fault.
        most: faults in all; afterwards everything passes.
        longest: seconds of the longest delay.
    """

    def __init__(self, port: int, *, seed: int, share: float, most: int, longest: float) -> None:
        self.to, self.share, self.most, self.longest = port, share, most, longest
        self.met: Counter[str] = Counter()
        self.exchanges = 0
        self._random, self._lock = random.Random(seed), threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._ended = False
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    @property
    def count(self) -> int:
        """Faults so far."""
        return self.met.total()

    def close(self) -> None:
        """Take no more."""
        self._ended = True
        self._listening.close()

    def _accept(self) -> None:
        while not self._ended:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._connection, args=(client,), daemon=True).start()

    def _connection(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", self.to), timeout=60) as server:
            self._relay(client, server)

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        """Pass on, both ways; the client's first bytes after an answer begin an exchange, which may meet a fault."""
        asking, left = False, 0
        fault: str | None = None
        while not self._ended:
            ready, _, _ = select.select([client, server], [], [], 1.0)
            if client in ready:
                data = client.recv(65_536)
                if not data:
                    return
                if not asking:
                    asking, (fault, amount) = True, self._next()
                    left = int(1_000**amount)  # bytes of the answer that get through: small ones as often as large
                    if fault == "refuse":
                        return
                    if fault == "delay":
                        time.sleep(self.longest * amount**3)
                server.sendall(data)
            if server in ready:
                data = server.recv(65_536)
                if not data or fault == "lose":
                    return
                asking = False
                if fault == "cut":
                    client.sendall(data[:left])
                    left -= len(data)
                    if left <= 0:
                        return
                else:
                    client.sendall(data)

    def _next(self) -> tuple[str | None, float]:
        with self._lock:
            self.exchanges += 1
            drawn, kind, amount = self._random.random(), self._random.choice(KINDS), self._random.random()
            if self.count >= self.most or drawn >= self.share:
                return None, amount
            self.met[kind] += 1
            return kind, amount


@contextmanager
def proxy_to(port: int, **schedule: Any) -> Iterator[Proxy]:
    """A proxy that ends with the block."""
    proxy = Proxy(port, **schedule)
    try:
        yield proxy
    finally:
        proxy.close()
