"""A substitute for load: sleeps, and reports its process and times."""

import os
import time

import functions_framework


@functions_framework.http
def load(request):
    started_at = time.time()
    time.sleep(float(request.args.get("seconds", 0)))
    return {"pid": os.getpid(), "started_at": started_at, "ended_at": time.time()}
