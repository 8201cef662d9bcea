"""Holds every packet that a tunnel interface is given for some milliseconds, and gives it back.

    python -m tests.networks.delayline DEVICE MILLISECONDS

Runs in the routing namespace; what it gives back is routed on as if it had just come. Ends with SIGTERM.
"""

import fcntl
import os
import select
import struct
import sys
import time
from collections import deque

_TUNSETIFF = 0x400454CA
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000
_MAX_PACKET = 65_536
_MAX_WAITING = 20_000
"""Packets held; beyond, they are lost, as on any line."""


def main() -> None:
    """Open the device and pass packets on until killed."""
    device, delay_s = sys.argv[1], int(sys.argv[2]) / 1000
    tunnel = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tunnel, _TUNSETIFF, struct.pack("16sH", device.encode(), _IFF_TUN | _IFF_NO_PI))
    print("ready", flush=True)
    waiting: deque[tuple[float, bytes]] = deque()
    while True:
        timeout = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        readable, _, _ = select.select([tunnel], [], [], timeout)
        while readable:
            try:
                packet = os.read(tunnel, _MAX_PACKET)
            except BlockingIOError:
                break
            if len(waiting) < _MAX_WAITING:
                waiting.append((time.monotonic() + delay_s, packet))
        while waiting and waiting[0][0] <= time.monotonic():
            os.write(tunnel, waiting.popleft()[1])


if __name__ == "__main__":
    main()
