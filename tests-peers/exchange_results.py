"""Makes and takes results of exchange keys with the stock package `cryptography`.

    python exchange_results.py < TASKS

TASKS is a JSON list. A task says what to `do`: `make` a result, `take` one, or derive the `public` key of a
signer's; with `algorithm`, `key`, `version`, `data`, `aad`, `result` and, for a stream of GCM, `chunks` (log2 of the
chunk size). Bytes are hexadecimal. Prints a JSON list of answers: `result`, `data`, `verified`, `public`, or
`refused` and the step that does.
"""

import json
import sys

import exchange
from refused import Refused


def answer(task):
    algorithm, version, chunks = task["algorithm"], task["version"], task["chunks"]
    key, data, aad, result = (bytes.fromhex(task[name]) for name in ("key", "data", "aad", "result"))
    if task["do"] == "public":
        return {"public": exchange.public_key(algorithm, key).hex()}
    if task["do"] == "make":
        return {"result": exchange.make(algorithm, key, version, data, aad, chunks).hex()}
    try:
        taken = exchange.take(algorithm, key, version, result, aad, data, chunks is not None)
    except Refused as refused:
        return {"refused": refused.args[0]}
    return {"verified": True} if taken is None else {"data": taken.hex()}


if __name__ == "__main__":
    json.dump([answer(task) for task in json.load(sys.stdin)], sys.stdout)
