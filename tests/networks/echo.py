"""Two ends of one connection, to try a fabric with: one says back what it hears, the other tells what came back.

python -m tests.networks.echo hear HOST PORT      prints every line it hears, and sends it back
python -m tests.networks.echo say HOST PORT       sends every line of its input; prints what comes back
"""

import socket
import sys
import threading
from typing import TextIO


def main() -> None:
    """One of the two."""
    role, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if role == "hear":
        with socket.create_server((host, port)) as listening:
            print("ready", flush=True)
            connection, _ = listening.accept()
            for line in connection.makefile("r"):
                tell(line)
                connection.sendall(line.encode())
    else:
        connection = socket.create_connection((host, port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=tell_all, args=(connection.makefile("r"),), daemon=True).start()
        print("ready", flush=True)
        for line in sys.stdin:
            connection.sendall(line.encode())


def tell_all(lines: TextIO) -> None:
    """Print every line as it comes."""
    for line in lines:
        tell(line)


def tell(line: str) -> None:
    """Print a line at once."""
    print(line, end="", flush=True)


if __name__ == "__main__":
    main()
