"""A substitute for query: sends the responses that test a gateway."""

import os
import signal
import time

import functions_framework
from flask import Response


def _stream(pieces, pause_s):
    for number in range(pieces):
        yield f"id: {number}\n\n"
        time.sleep(pause_s)


def _count(stream):
    size = 0
    while block := stream.read(1024 * 1024):
        size += len(block)
    return size


@functions_framework.http
def query(request):
    match request.args.get("do"):
        case "stream":
            pieces = _stream(int(request.args["pieces"]), float(request.args["pause_s"]))
            return Response(pieces, content_type="text/event-stream")
        case "die":
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        case "count":
            return {"size": _count(request.stream)}
        case "big":
            return Response((b"x" * 65536 for _ in range(1600)), content_type="text/plain")
    return {
        "method": request.method,
        "path": request.full_path,
        "headers": dict(request.headers),
        "environment": {name: os.environ.get(name) for name in ("K_SERVICE", "THREADS", "PORT")},
    }
