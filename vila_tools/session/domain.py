"""ROS domains of our own: nobody else on this machine who asks here is given the same one."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from vila_core.errors import VilaError

DOMAINS = range(1, 102)  # 0 is everybody's; above 101 the ports may be those of outgoing connections


@contextmanager
def leased_domain() -> Iterator[int]:
    """Give a ROS domain that is ours until the block is left, or the process ends, however it does.

    The lease is a socket's name, which Linux gives to one process at a time and takes back from a dead one; its scope
    is the network that the nodes meet in. VilaError if all are given away.
    """
    for domain in random.sample(DOMAINS, len(DOMAINS)):  # one that was just given back may still have nodes that end
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lease:
            try:
                lease.bind(f"\0vila_nav/ros_domain/{domain}")
            except OSError:
                continue
            yield domain
            return
    raise VilaError(f"all {len(DOMAINS)} ROS domains of this machine are in use by runs of vila_nav")
