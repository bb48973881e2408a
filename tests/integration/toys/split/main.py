"""A substitute for split: writes each push as a line of JSON."""

import base64
import json
import sys

import functions_framework


@functions_framework.http
def split(request):
    message = request.get_json()["message"]
    document = json.loads(base64.b64decode(message["data"]))
    line = json.dumps({"attributes": message["attributes"], "object": document})
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    return "", 204
