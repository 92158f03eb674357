"""Has postfix-mta-sts-resolver itself judge record sets and policies.

Each line of standard input is a JSON object: txts (list of base64), body
(base64) and type (Content-Type). The answer is one JSON object a line. What is
judged reaches STSResolver.resolve in place of an answer of the DNS and of a
policy host; all else is the program's own code.
"""
import asyncio
import base64
import importlib.metadata
import json
import sys

import aiohttp.helpers
from pycares.utils import maybe_str
from postfix_mta_sts_resolver import resolver as program


class Record:
    def __init__(self, text):
        self.text = maybe_str(text)  # as pycares hands it on


class DNS:
    def __init__(self, txts):
        self.txts = txts

    async def query(self, _name, _type):
        return [Record(txt) for txt in self.txts]


class Content:
    def __init__(self, body):
        self.body = body

    async def read(self, size):
        chunk, self.body = self.body[:size], self.body[size:]
        return chunk


class Response:
    """What resolve looks at of aiohttp's responses."""
    status = 200

    def __init__(self, body, content_type):
        self.headers = {"Content-Type": content_type}
        self.charset = aiohttp.helpers.parse_mimetype(content_type).parameters.get("charset")
        self.content = Content(body)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass


class Session:
    response = None

    def __init__(self, **_):
        pass

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    def get(self, _url, **_):
        return Session.response


async def main():
    judge = program.STSResolver(loop=asyncio.get_running_loop())
    program.aiohttp.ClientSession = Session
    print(json.dumps({"version": importlib.metadata.version("postfix_mta_sts_resolver")}), flush=True)
    for line in sys.stdin:
        case = json.loads(line)
        judge._resolver = DNS([base64.b64decode(txt) for txt in case["txts"] or []])
        Session.response = Response(base64.b64decode(case["body"] or ""), case["type"])
        result, policy = await judge.resolve("example.com")
        answer = {"result": result.name}
        if policy is not None:
            answer["id"] = policy[0]
            answer["mode"] = policy[1]["mode"]
            answer["max_age"] = policy[1]["max_age"]
            answer["mx"] = policy[1]["mx"]
        print(json.dumps(answer), flush=True)


asyncio.run(main())
